"""Quality of a model or of a results file, and its cost."""
