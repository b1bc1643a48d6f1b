"""deploy/skypilot.yaml: its fields are SkyPilot's, and its script starts a training or goes on with it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parents[3] / "deploy/skypilot.yaml"

# The fields that the schemas of a task and of its resources have in SkyPilot 0.14.1 (skypilot-0.14.1-py3-none-any.whl
# on PyPI, sky/utils/schemas.py), neither of which takes another one. Types are those of the fields that the file uses.
TASK: dict[str, Any] = {
    **dict.fromkeys(["event_callback", "service", "pool", "managed_secrets", "inputs", "outputs", "file_mounts"]),
    **dict.fromkeys(["file_mounts_mapping", "config", "volumes", "volume_mounts", "api_server_access", "num_nodes"]),
    **{"name": str, "workdir": (str, dict), "resources": dict, "envs": dict, "secrets": (dict, list)},
    **{"setup": str, "run": str},
}
RESOURCES: dict[str, Any] = {
    **dict.fromkeys(["cloud", "region", "zone", "infra", "instance_type", "disk_tier", "ports", "labels", "image_id"]),
    **dict.fromkeys(["ephemeral_storage", "volumes", "priority_class", "network_tier"]),
    **dict.fromkeys(["local_disk", "max_hourly_cost", "accelerator_args", "autostop", "priority"]),
    **{"cpus": (str, int, float), "memory": (str, int, float), "accelerators": (str, dict), "use_spot": bool},
    **{"disk_size": (int, str), "job_recovery": (str, dict)},
}
JOB_RECOVERY = {"strategy": (str, type(None)), "max_restarts_on_errors": int, "recover_on_exit_codes": (int, list)}


def strange(values: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Fields that are unknown or of another type."""
    unknown = [name for name in values if name not in known]
    wrong = [name for name, value in values.items() if known.get(name) and not isinstance(value, known[name])]
    return unknown + wrong


@pytest.fixture
def task() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


def test_skypilot_knows_every_field(task: dict[str, Any]):
    assert not strange(task, TASK)
    assert not strange(task["resources"], RESOURCES)
    assert not strange(task["resources"]["job_recovery"], JOB_RECOVERY)
    assert all(isinstance(value, str) for value in task["envs"].values())
    assert not [name for name in task["envs"] if "TOKEN" in name or "SECRET" in name or "KEY" in name]
    # A typo and a number in quotes would be seen.
    assert strange({"accelerator": "A100:1", "use_spot": "true"}, RESOURCES) == ["accelerator", "use_spot"]


def test_its_script_begins_and_goes_on(task: dict[str, Any], tmp_path: Path):
    for name, script in {
        "icface": '#!/bin/sh\nfor word in "$@"; do printf "<%s>" "$word"; done\n',
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    given = {"DATASET": "s3://bucket/my faces", "STORAGE": str(tmp_path / "runs"), "OPTIONS": "--steps 9"}
    given |= {"SKYPILOT_NUM_GPUS_PER_NODE": "4", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def words() -> str:
        command = ["bash", "-euc", task["run"]]
        done = subprocess.run(
            command, env={**task["envs"], **given}, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    begun = words()
    assert begun.startswith("<train><s3://bucket/my faces><--gpu><--workers><4><--storage>")
    assert begun.endswith("<--name><first><--register><face><--steps><9>")
    (tmp_path / "runs/first").mkdir(parents=True)
    (tmp_path / "runs/first/run.json").write_text("{}")
    assert "<--resume><--steps>" in words()
