"""Significance, error rates and strength of evidence.  Knows arrays only; imports nothing of ours."""
