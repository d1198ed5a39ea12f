"""Bases of the hub: which of a repository's files are wanted, and one clear error for whatever goes wrong."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from auditor.errors import TrainingError, UsageError
from auditor.lora.text import shown
from auditor.sources.hub import parse

FOLDERS = ("unet", "transformer", "vae", "scheduler", "text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
ENDINGS = ("safetensors", "json", "txt", "model")
WANTED = ["model_index.json", *(f"{folder}/*.{end}" for folder in (*FOLDERS, *TOKENIZERS) for end in ENDINGS)]
"""By folder: repositories hold the same weights again for other programs, tens of gigabytes of them."""
UNWANTED = ["*.fp16.*", "*.fp16-*", "*.non_ema.*"]


def stay_offline() -> None:
    """From now on this process and those that it starts take from the hub only what lies in its cache."""
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True  # read on import, which may have been before


def base_from_hub(name: str) -> Path:
    """The folder in the hub's cache of ``hf://owner/repo[@revision]``, downloaded if need be.

    Raises UsageError for a malformed name, TrainingError when the hub and its cache do not give the whole base.
    """
    from huggingface_hub import get_session, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    address = parse(name)
    if address.file:
        raise UsageError(
            f"{shown(name)} names a file; a base is a repository.", advice="Write hf://owner/name[@revision]."
        )
    client = import_module(type(get_session()).__module__.partition(".")[0])
    try:
        found = snapshot_download(
            address.repo,
            revision=address.revision,
            allow_patterns=WANTED,
            ignore_patterns=UNWANTED,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    except (HfHubHTTPError, HFValidationError, client.HTTPError, OSError) as problem:
        said = shown(" ".join(str(problem).split()) or type(problem).__name__, 300)
        raise TrainingError(
            f"The base {name} cannot be had from the hub: {said.rstrip('.')}.",
            advice="Check its name, the network and, for gated models, HF_TOKEN; or give a folder on this machine.",
        ) from problem
    return Path(found)
