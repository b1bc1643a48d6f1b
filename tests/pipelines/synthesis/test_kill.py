"""SIGKILL of the job that renders people, and of one of its processes: the same command then gives the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.clip_faults import contents
from support.synthetic_people import build_people

from benchmarks.process_tree import descendants, is_running
from pipelines.synthesis.config import SynthesisConfig

STATED = 600.0
"""Seconds in which something must happen, however busy the machine is."""
OPTIONS = {"people": 20, "frames": 12, "size": 32, "seed": 3}


def start(url: Path) -> subprocess.Popen[str]:
    words = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "orchestration", "dataset", "synthesise", str(url), *words, "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_until(true) -> None:
    deadline = time.monotonic() + STATED
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def renderers(root: int) -> list[int]:
    return [process for process, name in descendants(root).items() if "PersonActor" in name]


@pytest.mark.system
def test_a_killed_job_and_a_killed_process_leave_the_same_data_set(tmp_path: Path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    build_people(SynthesisConfig(dataset=str(undisturbed), **OPTIONS))
    whole = contents(undisturbed)
    shards = [name for name in whole if name.startswith("clips/")]
    assert len(shards) > 3
    job = start(killed)
    wait_until(lambda: len(list(killed.glob("clips/*.parquet"))) >= 1 or job.poll() is not None)
    below = descendants(job.pid)
    assert job.poll() is None, "killed before it was over"
    job.kill()
    job.wait()
    assert not (killed / "index.parquet").exists()
    wait_until(lambda: not any(map(is_running, below)))
    kept = {path.name: path.stat().st_mtime_ns for path in killed.glob("clips/*.parquet")}
    again = start(killed)
    victims: list[int] = []
    wait_until(lambda: victims.extend(renderers(again.pid)) or victims or again.poll() is not None)
    assert again.poll() is None
    os.kill(victims[0], signal.SIGKILL)
    _, errors = again.communicate(timeout=STATED)
    if again.returncode != 0:
        assert "run the same command again" in errors, errors
        again = start(killed)
        _, errors = again.communicate(timeout=STATED)
    assert again.returncode == 0, errors
    assert contents(killed) == whole
    for name, changed in kept.items():
        assert (killed / "clips" / name).stat().st_mtime_ns == changed, "a shard that was finished was done again"
