"""Gradient steps: a dense model's, and a trial's under its mask."""
