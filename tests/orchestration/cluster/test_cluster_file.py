"""ray_cluster.yaml by Ray's own schema, and what that misses."""

import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

import icface

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "ray_cluster.yaml"
SIZES = {"m6i.2xlarge": (8, 0), "c6i.8xlarge": (32, 0), "g5.4xlarge": (16, 1)}
"""Cores and GPUs of the instances, as AWS publishes them."""


@pytest.fixture
def config() -> dict:
    return yaml.safe_load(FILE.read_text())


def test_rays_schema_accepts_it(config: dict):
    validate_config(prepare_config(config))


def test_rays_schema_would_refuse_a_typo(config: dict):
    config["max_wrokers"] = 3
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(config))


def test_nodes_start_from_none_and_the_limits_agree(config: dict):
    kinds = config["available_node_types"]
    assert config["head_node_type"] in kinds
    workers = [kind for name, kind in kinds.items() if name != config["head_node_type"]]
    for kind in workers:
        assert 0 == kind["min_workers"] <= kind["max_workers"]
    assert sum(kind["max_workers"] for kind in workers) <= config["max_workers"]
    assert any("InstanceMarketOptions" in kind["node_config"] for kind in workers)
    assert config["idle_timeout_minutes"] > 0


def test_what_a_node_offers_is_what_its_instance_has(config: dict):
    for name, kind in config["available_node_types"].items():
        cores, gpus = SIZES[kind["node_config"]["InstanceType"]]
        wanted = 0 if name == config["head_node_type"] else cores
        assert kind["resources"]["CPU"] == wanted, name
        assert kind["resources"].get("GPU", 0) == gpus, name


def test_the_version_is_pinned_to_this_project(config: dict):
    (checkout,) = [command for command in config["setup_commands"] if "checkout" in command]
    assert re.search(r"--detach (\S+)", checkout).group(1) == f"v{icface.__version__}"
    assert "make setup" in checkout


def test_head_and_workers_speak_on_the_same_ports_and_the_dashboard_stays_inside(config: dict):
    (head,) = [line for line in config["head_start_ray_commands"] if " start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if " start" in line]
    assert "--port=6379" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head


def test_every_choice_is_commented():
    """A line that sets something has a comment, or stands in a group whose first line has one before it."""
    bare, comment = [], False
    for line in FILE.read_text().splitlines():
        text = line.strip()
        if not text:
            comment = False
        elif text.startswith("#") or " # " in line:
            comment = True
        elif not line.startswith(" ") and text.endswith(":"):
            continue  # opens a group; what it holds is looked at
        elif not comment and text != "head_node_type: head" and not text.startswith(("type:", "cluster_name")):
            bare.append(line)
    assert not bare


def test_no_secret_is_written_into_it():
    text = FILE.read_text().lower()
    assert not any(word in text for word in ("aws_secret", "access_key", "password", "token="))
