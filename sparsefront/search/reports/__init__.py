"""MLflow, pictures, pages and tables of a sweep."""
