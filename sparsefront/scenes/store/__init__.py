"""The tables of a data set as memory-mapped columns."""
