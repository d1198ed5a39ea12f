"""Every error that this project raises on purpose.  Each says what is wrong, where, and what to do.

AuditorError                 exit 1   the tool failed
├── UsageError               exit 2   wrong option or argument
├── ReferenceSetError        exit 1   a reference set is missing, damaged or of another version
│   └── NoSuchSet            exit 2   nothing is installed, or lies, under the name that was given
├── TrainingError            exit 1   training of references could not go on
├── AttestationError         exit 1   a statement is malformed, or its signature cannot be made or checked
└── NotAuditable             exit 3   this file cannot be audited; others of the batch still are
    ├── MalformedFile        exit 3   the bytes are not a well-formed file of weights (truncated, lying header, …)
    ├── SourceError          exit 3   a file on the network cannot be had
    ├── NotALora             exit 3   well-formed, but no LoRA of an image model (a checkpoint, a language model, …)
    └── OutOfScope           exit 3   a LoRA, but not of the reference set's base
"""

from __future__ import annotations


class AuditorError(Exception):
    """Base of all errors; `code` is stable for scripts, `advice` says what to do, `exit_code` is the process's."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, advice: str) -> None:
        """message: what is wrong and where; advice: what to do."""
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        """Message and advice in one paragraph."""
        return f"{self.message} {self.advice}".strip()


class UsageError(AuditorError):
    """A wrong option, argument or combination of them."""

    exit_code = 2
    code = "usage"


class ReferenceSetError(AuditorError):
    """A reference set is missing, damaged, or made by another version of the features."""

    code = "reference-set"


class NoSuchSet(ReferenceSetError):
    """There is no reference set of that name: a wrong argument."""

    exit_code = UsageError.exit_code


class TrainingError(AuditorError):
    """References could not be trained."""

    code = "training"


class AttestationError(AuditorError):
    """A statement is malformed, or a key cannot be used."""

    code = "attestation"


class NotAuditable(AuditorError):
    """This file cannot be audited.  In a batch it becomes a row with its reason."""

    exit_code = 3
    code = "not-auditable"


class MalformedFile(NotAuditable):
    """The bytes are no well-formed file of weights: empty, truncated, a lying header, NaN, shapes that do not fit."""

    code = "malformed"


class NotALora(NotAuditable):
    """A well-formed file that holds no LoRA of an image model."""

    code = "not-a-lora"


class OutOfScope(NotAuditable):
    """A LoRA of an image model, but of another base than the reference set's."""

    code = "out-of-scope"


class SourceError(NotAuditable):
    """A file on the network cannot be had: unknown, unreachable, forbidden, or not what its site announces."""

    code = "unreachable"
