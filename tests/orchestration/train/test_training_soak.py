"""Faults at random moments of a hundred trainings: two hours of them on two cores; parts as in `support.soak`.

Each seed starts a training, lets something happen to it after a random while, once or twice, resumes it until it is
done, and holds its bundle against an undisturbed training's, bit by bit.
"""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from support.killed_trainings import (
    EVERY,
    TrackingServer,
    assert_same,
    assert_whole,
    bundle_weights,
    checkpoints,
    command,
    fill,
    rank_processes,
    start,
)
from support.soak import chosen, part

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
FAULTS = ("worker", "driver", "interrupt", "terminate", "server", "disk")
LONGEST = 8
"""Resumes after which a round is given up."""


class Round:
    """One training that something happens to."""

    def __init__(self, name: str, data: Path, place: Path, rng: random.Random, seconds: float) -> None:
        self.rng = rng
        self.seconds = seconds
        """How long an undisturbed training takes."""
        self.place = place
        self.storage = place / "disk" / name
        self.folder = self.storage / name
        self.words = command(data, name, "--storage", str(self.storage))
        self.server: TrackingServer | None = None

    def disturb(self, fault: str, process: subprocess.Popen[str]) -> None:
        """Wait a random while, and let it happen if the training still runs."""
        moment = time.monotonic() + self.rng.uniform(0, self.seconds)
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:
            return
        if fault == "worker":
            for rank in rank_processes(process.pid)[:1]:
                os.kill(rank, signal.SIGKILL)
        elif fault == "driver":
            os.kill(process.pid, signal.SIGKILL)
        elif fault == "interrupt":
            process.send_signal(signal.SIGINT)
        elif fault == "terminate":
            process.send_signal(signal.SIGTERM)
        elif fault == "server":
            assert self.server is not None
            self.server.end()
            time.sleep(self.rng.uniform(0, 60))
            self.server.start()
        else:
            filler = fill(self.place / "disk")
            time.sleep(self.rng.uniform(0, self.seconds))
            filler.unlink()

    def run(self, fault: str, environment: dict[str, str]) -> tuple[int, list[str]]:
        """Train until it is done; returns how often it was started, and the lines of its ends."""
        ends: list[str] = []
        for number in range(LONGEST):
            exists = (self.folder / "run.json").exists()
            process = start([*self.words, *(["--resume"] if exists else [])], self.place, environment)
            if number < self.rng.randint(1, 2):
                self.disturb(fault, process)
            _, errors = process.communicate()
            assert_whole(self.folder)
            if process.returncode == 0:
                return number + 1, ends
            ends.append(errors.strip().splitlines()[-1] if errors.strip() else f"signal {-process.returncode}")
            if process.returncode == 1:
                assert errors.count("\n") == 1, errors
        raise AssertionError(f"not done after {LONGEST} starts: {ends}")


@pytest.fixture
def disk(tmp_path: Path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(place)], capture_output=True)
    yield mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def undisturbed(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of a training that nothing happens to, and the seconds that it takes."""
    place = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    ended = subprocess.run(command(small_dataset, "undisturbed"), cwd=place, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return bundle_weights(place / "runs/undisturbed"), time.monotonic() - began


@pytest.mark.parametrize("seed", chosen(100))
def test_a_training_survives_faults_at_random_moments(
    seed: int, small_dataset: Path, tmp_path: Path, disk: bool, undisturbed: tuple[dict[str, torch.Tensor], float]
):
    weights, seconds = undisturbed
    fault = FAULTS[seed % len(FAULTS)]
    with part("trainings", seed) as found:
        if fault == "disk" and not disk:
            pytest.skip("a file system of its own cannot be mounted here")
        each = Round(f"round{seed}", small_dataset, tmp_path, random.Random(seed), seconds)
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        began = time.monotonic()
        try:
            if fault == "server":
                each.server = TrackingServer(tmp_path / "server")
                each.server.start()
                environment = {"MLFLOW_TRACKING_URI": each.server.uri}
            starts, ends = each.run(fault, environment)
        finally:
            if each.server is not None:
                each.server.end()
        assert_same(each.folder, weights)
        for step in checkpoints(each.folder):
            assert step % EVERY == 0 or any(re.search("stopped at step", line) for line in ends)
        found |= {"fault": fault, "starts": starts, "ends": ends, "seconds": round(time.monotonic() - began)}
