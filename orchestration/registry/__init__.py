"""The model registry: versions, evaluation, comparison, promotion, export, serving."""
