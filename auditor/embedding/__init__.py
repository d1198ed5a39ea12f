"""LoRA weights → gauge-invariant features → calibrated coordinates → scores per artist.  numpy and scipy only."""
