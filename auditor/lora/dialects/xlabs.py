"""Flux LoRAs of XLabs: ``double_blocks.0.processor.qkv_lora1.down.weight`` (1 is the image stream, 2 the text's)."""

from __future__ import annotations

import re

from auditor.lora.dialects import Dialect, Key

_NAME = re.compile(
    r"(?:diffusion_model\.)?(?P<block>(?P<kind>double|single)_blocks\.[0-9]+)\.processor"
    r"\.(?P<leaf>qkv|proj)_lora(?P<stream>[12]?)\.(?P<role>down|up)\.weight"
)


def split(name: str) -> Key | None:
    """See `Dialect.split`."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    stream = {"1": "_img", "2": "_txt", "": ""}[match["stream"]]
    path = f"transformer.{match['block']}.processor.{match['leaf']}{stream}"
    return Key(path, path, match["role"])


DIALECT = Dialect("xlabs", 40, split)
