"""Reference sets: build, calibrate, evaluate, load, verify."""

from auditor.reference.build import import_folder
from auditor.reference.calibrate import calibrate
from auditor.reference.edit import add_folder, remove
from auditor.reference.set import ReferenceSet, describe, installed, verify
from auditor.reference.validity import evaluate

__all__ = [
    "ReferenceSet",
    "add_folder",
    "calibrate",
    "describe",
    "evaluate",
    "import_folder",
    "installed",
    "remove",
    "verify",
]
