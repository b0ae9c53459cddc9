"""What trials are about: a model, its data and metrics, behind one protocol."""
