"""Was it memory that ran out?  What libraries say of it has many words."""

from __future__ import annotations

SAID = ("could not create a primitive", "DefaultCPUAllocator: not enough memory")
"""oneDNN's and torch's on a CPU, which accelerate does not know."""


def out_of_memory(problem: BaseException) -> bool:
    """Whether a smaller batch, or fewer LoRAs at once, may help."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(problem, MemoryError):
        return True
    known = isinstance(problem, RuntimeError) and any(words in str(problem) for words in SAID)
    return known or (isinstance(problem, Exception) and should_reduce_batch_size(problem))
