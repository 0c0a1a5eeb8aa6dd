"""Draft family and release files for checkpoints that nothing here knows yet."""
