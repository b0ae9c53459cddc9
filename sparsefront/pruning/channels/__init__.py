"""Channels: which are tied together, which stay, and their physical removal."""
