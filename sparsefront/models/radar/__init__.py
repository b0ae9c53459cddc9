"""models/radar."""
