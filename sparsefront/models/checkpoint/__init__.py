"""Checkpoints: our own files, and those of published code bases, translated both ways."""
