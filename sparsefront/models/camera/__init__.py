"""models/camera."""
