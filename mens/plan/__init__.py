"""What a run would do and need, worked out from headers and configuration: no weights, no torch, no device."""
