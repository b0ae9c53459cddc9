"""The folder of one sweep: where it lies, what is in it, who may write to it."""
