"""Which models the page offers."""

from pathlib import Path

import mlflow

from orchestration.config import StudioJob
from orchestration.studio import resolvers


def test_a_version_is_offered_by_its_number_wherever_its_alias_goes(workplace: Path):
    client = mlflow.MlflowClient()
    client.create_registered_model("face")
    for _ in range(2):
        client.create_model_version("face", str(workplace / "bundle"))
    client.set_registered_model_alias("face", "champion", "1")
    offered = resolvers(StudioJob()).models
    assert [(each.reference, each.label) for each in offered()] == [
        ("models:/face/1", "face version 1 @champion"),
        ("models:/face/2", "face version 2"),
    ]
    client.set_registered_model_alias("face", "champion", "2")
    assert [each.label for each in offered()] == ["face version 2 @champion", "face version 1"]
