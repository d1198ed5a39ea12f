"""Reference sets: build, calibrate, evaluate, load, verify."""

from auditor.reference.build import import_folder
from auditor.reference.calibrate import calibrate
from auditor.reference.export import export_set, export_sketch
from auditor.reference.set import ReferenceSet, describe, installed, verify
from auditor.reference.validity import evaluate

__all__ = [
    "ReferenceSet",
    "calibrate",
    "describe",
    "evaluate",
    "export_set",
    "export_sketch",
    "import_folder",
    "installed",
    "verify",
]
