"""scenes/scoring."""
