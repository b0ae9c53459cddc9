"""Data sets of driving scenes: read, generated, augmented, batched and scored."""
