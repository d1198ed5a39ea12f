"""The name of a set's features: everything that changes one of their numbers, as it stands in manifest and audit.

root-gram+delta/k32/seed0/v2       kinds, directions a side fitted on the references, seed of the fit
root-gram/sketch96in600/seed0/v2   at most as many random directions, seen in as many sums, drawn from the seed
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.errors import ReferenceSetError

FORM = re.compile(
    r"(?P<kinds>[a-z-]+(?:\+[a-z-]+)*)/(?:k(?P<fitted>[0-9]{1,9})|sketch(?P<drawn>[0-9]{1,9})in(?P<cells>[0-9]{1,9}))"
    r"/seed(?P<seed>[0-9]{1,19})/v2"
)


@dataclass(frozen=True)
class FeaturesName:
    """A parsed name; `str` writes it."""

    kinds: tuple[str, ...]
    directions: int
    """A side of each layer."""
    seed: int
    cells: int | None = None
    """Of a sketch, whose directions are drawn: sums that a block is seen in.  None: directions are fitted."""

    @classmethod
    def parse(cls, name: str) -> FeaturesName:
        """The parts of a name.  Raises ReferenceSetError for anything but one."""
        found = FORM.fullmatch(name)
        if found is None:
            raise ReferenceSetError(
                f"A reference set names its features {name!r}, which this version does not know.",
                advice="Make the set again with `audit refs import`, or install the version of audit that made it.",
            )
        kinds, cells = tuple(found["kinds"].split("+")), found["cells"]
        return cls(kinds, int(found["fitted"] or found["drawn"]), int(found["seed"]), int(cells) if cells else None)

    def __str__(self) -> str:
        """As `parse` reads it."""
        way = f"k{self.directions}" if self.cells is None else f"sketch{self.directions}in{self.cells}"
        return f"{self.family}/{way}/seed{self.seed}/v2"

    @property
    def family(self) -> str:
        """The kinds alone, as --features takes them."""
        return "+".join(self.kinds)

    def require_fitted(self) -> None:
        """Refuse a sketch where directions are to be fitted again.  Raises ReferenceSetError."""
        if self.cells is not None:
            raise ReferenceSetError(
                f"This set is a sketch ({self}): its directions are drawn, and cannot be fitted on other files.",
                advice="Evaluate the set it was made from.",
            )
