"""The radar branch: pillars of radar points to a bird's-eye-view map."""
