"""Checkpoints without torch: what stands in them, and what should."""
