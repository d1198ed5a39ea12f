"""Reference sets: build, calibrate, evaluate, edit, export, load, verify."""

from auditor.reference.build import import_folder
from auditor.reference.calibrate import calibrate
from auditor.reference.edit import add_folder, remove
from auditor.reference.export import export_set, export_sketch
from auditor.reference.set import ReferenceSet, describe, installed, verify
from auditor.reference.validity import evaluate

__all__ = [
    "ReferenceSet",
    "add_folder",
    "calibrate",
    "describe",
    "evaluate",
    "export_set",
    "export_sketch",
    "import_folder",
    "installed",
    "remove",
    "verify",
]
