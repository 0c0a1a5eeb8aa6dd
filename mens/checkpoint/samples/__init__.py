"""Tiny checkpoints of any family and layout, written straight from the key map."""
