"""The key map of a family: recognised, spelled out for one configuration and layout, and compared."""
