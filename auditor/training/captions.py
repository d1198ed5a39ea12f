"""Captions of pictures that came without one: from the file's name, or from a captioning model, cached on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock

from auditor.errors import TrainingError, UsageError
from auditor.training.log import append_line, read_lines
from auditor.training.pictures import Unreadable, read_upright
from auditor.training.works import Work, Works

GIVEN, NAMES = "given", "names"


def require_source(how: str) -> None:
    """Refuse what cannot be a source of captions, before anything is planned with it.  Raises UsageError."""
    if how in (GIVEN, NAMES) or Path(how).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", how):
        return
    raise UsageError(
        f"There are no captions {how!r}.",
        advice=f"Give '{GIVEN}', '{NAMES}', the folder of a captioning model, or owner/name of one of the hub.",
    )


def with_captions(works: Works, how: str, cache: Path, device: str, tell: Callable[[str], None]) -> Works:
    """`works` with every caption that `how` can give; captions that came with a picture always stay.

    how: 'given' adds none, 'names' reads file names, anything else is a captioning model (folder or hub name).
    """
    if how == GIVEN:
        return works
    if how == NAMES:
        done = [replace(w, caption=w.caption or from_name(w.file)) for w in works.works]
        return replace(works, works=done)
    missing = [work for work in works.works if not work.caption]
    if not missing:
        return works
    key = hashlib.sha256(how.encode()).hexdigest()[:12]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"captions-{key}.lock"):  # other processes wait and read
        known = caption_missing(works, missing, how, cache / f"captions-{key}.jsonl", device, tell)
    return replace(works, works=[replace(w, caption=w.caption or known[w.digest]) for w in works.works])


def caption_missing(
    works: Works, missing: list[Work], model: str, path: Path, device: str, tell: Callable[[str], None]
) -> dict[str, str]:
    """Captions by digest: those in `path`, and those that the model gives now, each written at once.

    A picture that cannot be read any more has none; what is to be trained on it fails when it is encoded.
    """
    known = {row["digest"]: row["caption"] for row in read_lines(path)}
    todo = {work.digest: work for work in missing if work.digest not in known}
    if todo:
        captioner = Captioner(model, device)
        for count, work in enumerate(todo.values(), start=1):
            try:
                known[work.digest] = captioner(works.folder / work.path)
                append_line(path, {"digest": work.digest, "file": work.file, "caption": known[work.digest]})
            except Unreadable as problem:
                known[work.digest] = ""
                tell(f"no caption: {work.file} cannot be read any more: {problem}")
            if count % 50 == 0 or count == len(todo):
                tell(f"captions: {count} of {len(todo)}")
    return known


def from_name(file: str) -> str:
    """'artist/012_the-red-mill (2).jpg' → 'the red mill'; '' where the name is a mere number."""
    stem = re.sub(r"\.[^.]*$", "", file.split("/")[-1])
    words = re.sub(r"\(\d+\)", " ", re.sub(r"[_\-+.]+|%20", " ", stem))
    words = re.sub(r"^(img|image|dsc|scan|photo)?\s*\d+\b|\b\d+$", " ", words.strip(), flags=re.IGNORECASE)
    return " ".join(words.split()).lower() if re.search(r"[^\W\d_]{2}", words) else ""


class Captioner:
    """An image-to-text model of transformers (BLIP, GIT, …), greedy, at most 40 tokens."""

    def __init__(self, model: str, device: str) -> None:
        """Load from a folder, or from the hub and its cache.  Raises TrainingError."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            self.processor = AutoProcessor.from_pretrained(model)
            self.model = AutoModelForImageTextToText.from_pretrained(model).to(device).eval()
        except (OSError, ValueError, KeyError) as problem:
            raise TrainingError(
                f"The captioner {model!r} cannot be loaded: {str(problem).splitlines()[0]}",
                advice="Give an image-to-text model of the hub, or the folder of one that was downloaded.",
            ) from problem

    def __call__(self, path: Path) -> str:
        """The caption of one picture, one line.  Raises Unreadable."""
        inputs = self.processor(images=read_upright(path), return_tensors="pt").to(self.model.device)
        with torch.no_grad():
            tokens = self.model.generate(**inputs, max_new_tokens=40, do_sample=False)
        return " ".join(self.processor.batch_decode(tokens, skip_special_tokens=True)[0].split())
