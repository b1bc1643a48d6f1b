"""MLflow runs: what a training records, and whether its driver is alive."""
