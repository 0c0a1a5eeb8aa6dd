"""What lies on disk: folders, indexes, headers, bytes, digests, and writing them."""
