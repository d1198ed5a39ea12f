"""From which agreement of the weights on two files are called related: one place for all who say or use it.

Numbers only, so that a report can name them without reading weights.  Where they come from: `auditor.lora.relation`.
"""

UNRELATED = 0.02
"""Most that |cos ΔW| of unrelated LoRAs was, as far as was measured."""
SAME_SOURCE = 0.28
"""Least cosine of two runs of one owner that was measured; from here on a file is related to a known one."""
COPY = 0.5
"""Least cosine of fingerprints from which a file is related to a reference: 8 standard errors above unrelated files,
below neighbouring checkpoints of one run."""
