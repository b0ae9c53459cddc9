"""A trial's allocation and model as files of their own."""
