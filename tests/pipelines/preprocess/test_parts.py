"""`--shard I/N` and `icface dataset finish`: together they are the undivided run."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.clip_faults import contents
from support.datasets import changed

from icface.errors import IcfaceError
from pipelines.cluster import connect
from pipelines.config import RunningConfig
from pipelines.dataset import Dataset
from pipelines.preprocess.job import preprocess
from pipelines.preprocess.parts import finish
from tests.pipelines.conftest import crowd_config

SBATCH = Path(__file__).parents[3] / "deploy/preprocess.sbatch"


@pytest.fixture(scope="module", autouse=True)
def ray_here():
    with connect("local", 2):
        yield


@pytest.fixture
def run(crowd_made_once: Path, tmp_path: Path) -> Callable[[str | None], int]:
    """Runs a part of the job that made `crowd_made_once` into `parts`; the clips that it did."""
    config = replace(crowd_config(crowd_made_once), dataset=str(tmp_path / "parts"))
    return lambda shard: preprocess(changed(config, shard=shard)).new_clips


def test_parts_make_the_undivided_data_set(crowd_made_once: Path, tmp_path: Path, run):
    parts = str(tmp_path / "parts")
    assert run("2/2") + run("1/2") == 6
    with pytest.raises(IcfaceError, match="is not finished"):
        Dataset.open(parts)
    finish(parts)
    assert contents(tmp_path / "parts") == contents(crowd_made_once / "data")
    # A whole run has nothing left to do.
    assert run(None) == 0
    assert contents(tmp_path / "parts") == contents(crowd_made_once / "data")


def test_what_is_missing_is_named(crowd_made_once: Path, tmp_path: Path, run):
    parts = str(tmp_path / "parts")
    with pytest.raises(IcfaceError, match="has no parts"):
        finish(parts)
    run("1/3")
    with pytest.raises(IcfaceError, match="2 of 3 parts are not done: --shard 2/3, --shard 3/3"):
        finish(parts)
    run("2/3")
    run("3/3")
    lost = next((tmp_path / "parts/clips").glob("*.parquet"))
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(IcfaceError, match=r"1 shards are missing of --shard \d/3"):
        finish(parts)
    lost.write_bytes(kept)
    run("1/2")
    with pytest.raises(IcfaceError, match="parts of 2 and of 3"):
        finish(parts)
    (tmp_path / "parts/parts/1-of-2.json").unlink()
    finish(parts)
    assert contents(tmp_path / "parts") == contents(crowd_made_once / "data")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_parts_that_make_no_sense(text: str):
    with pytest.raises(ValueError, match="I/N"):
        RunningConfig(shard=text)


def test_the_sbatch_file_gives_each_task_its_part(tmp_path: Path):
    (tmp_path / "icface").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "icface").chmod(0o755)
    slurm = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16", "SLURM_CPUS_PER_TASK": "8"}
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **slurm}
    command = ["bash", str(SBATCH), "s3://bucket/clips", "my data", "--every", "5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "preprocess s3://bucket/clips my data --every 5 --workers 8 --shard 3/16\n"
    again = {**environment, "SLURM_ARRAY_TASK_COUNT": "1", "PARTS": "16"}
    assert subprocess.run(command, env=again, capture_output=True, text=True, check=True).stdout == done.stdout
    assert subprocess.run(["bash", str(SBATCH)], env=environment, capture_output=True, check=False).returncode == 2
