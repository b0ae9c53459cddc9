"""Which trials go on, and which are not worth it."""
