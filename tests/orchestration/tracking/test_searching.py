"""MLflow answers a page at a time."""

from pathlib import Path

import mlflow

from orchestration.registry import versions as registry
from orchestration.tracking.searching import found_by

MODELS = 101
"""One more than a page has."""


def test_every_model_is_found(workplace: Path):
    client = mlflow.MlflowClient()
    for number in range(MODELS):
        client.create_registered_model(f"model{number:03}")
    assert len(client.search_registered_models()) < MODELS
    assert len(list(found_by(client.search_registered_models))) == MODELS
    client.create_model_version(f"model{MODELS - 1}", str(workplace / "bundle"))
    assert [item.name for item in registry.versions()] == [f"model{MODELS - 1}"]
