"""What people look at: MLflow, pictures, reports."""
