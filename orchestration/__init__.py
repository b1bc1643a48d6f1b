"""Running it: the command line, Ray Train, MLflow, the registry, the demo."""
