"""What a checkpoint is, from its headers and small files alone."""
