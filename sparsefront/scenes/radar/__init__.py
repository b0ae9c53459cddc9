"""Radar files and points."""
