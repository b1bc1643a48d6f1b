"""ray_cluster.yaml by Ray's own schema, and what that misses."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).resolve().parents[2] / "ray_cluster.yaml"


@pytest.fixture
def config() -> dict:
    return yaml.safe_load(FILE.read_text())


def test_rays_schema_accepts_it(config: dict):
    validate_config(prepare_config(config))


def test_rays_schema_would_refuse_a_typo(config: dict):
    config["max_wrokers"] = 3
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(config))


def test_what_the_schema_misses(config: dict):
    kinds = config["available_node_types"]
    assert config["head_node_type"] in kinds
    workers = [kind for name, kind in kinds.items() if name != config["head_node_type"]]
    for kind in workers:
        assert kind["min_workers"] == 0  # autoscaling from nothing
        assert kind["min_workers"] <= kind["max_workers"]
    assert sum(kind["max_workers"] for kind in workers) <= config["max_workers"]
    assert kinds[config["head_node_type"]]["resources"]["CPU"] == 0
    assert any("InstanceMarketOptions" in kind["node_config"] for kind in workers)
    commands = " ".join(config["setup_commands"])
    assert "make setup" in commands
    assert "ICFACE_COMMIT" in commands


def test_no_secret_is_written_into_it():
    text = FILE.read_text().lower()
    assert not any(word in text for word in ("aws_secret", "access_key", "password", "token="))
