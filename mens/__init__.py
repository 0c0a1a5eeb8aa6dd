"""mens: contract-first QLoRA training, merging and serving."""

__version__ = "0.1.0.dev0"
