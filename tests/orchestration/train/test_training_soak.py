"""Faults at random moments of trainings, for as long as ICFACE_SOAK_MINUTES says (60).

Each round starts a training, lets something happen to it after a random while, once or twice, resumes it until it is
done, and holds its bundle against an undisturbed training's, bit by bit. The seed is printed; ICFACE_SOAK_SEED sets
it. One line a round goes to ICFACE_SOAK_LOG, if it is set.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
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


def test_trainings_survive_random_faults(small_dataset: Path, workplace: Path, tmp_path: Path, disk: bool):
    seed = int(os.environ.get("ICFACE_SOAK_SEED", random.SystemRandom().randrange(10**6)))
    until = time.monotonic() + 60 * float(os.environ.get("ICFACE_SOAK_MINUTES", "60"))
    log = os.environ.get("ICFACE_SOAK_LOG")
    print(f"seed {seed}")
    rng = random.Random(seed)
    began = time.monotonic()
    subprocess.run(command(small_dataset, "undisturbed"), check=True, cwd=workplace, capture_output=True)
    seconds = time.monotonic() - began
    weights = bundle_weights(workplace / "runs/undisturbed")
    faults = [fault for fault in FAULTS if disk or fault != "disk"]
    counts: Counter[str] = Counter()
    number = 0
    while time.monotonic() < until:
        fault = faults[number % len(faults)] if number < len(faults) else rng.choice(faults)
        each = Round(f"round{number}", small_dataset, tmp_path, rng, seconds)
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        try:
            if fault == "server":
                each.server = TrackingServer(tmp_path / f"server{number}")
                each.server.start()
                environment = {"MLFLOW_TRACKING_URI": each.server.uri}
            began = time.monotonic()
            starts, ends = each.run(fault, environment)
            took = time.monotonic() - began
        finally:
            if each.server is not None:
                each.server.end()
        assert_same(each.folder, weights)
        for path in checkpoints(each.folder):
            assert path % EVERY == 0 or any(re.search("stopped at step", line) for line in ends)
        shutil.rmtree(each.storage)
        counts[fault] += 1
        line = {"round": number, "fault": fault, "starts": starts, "ends": ends, "seconds": round(took)}
        print(json.dumps(line), flush=True)
        if log:
            with Path(log).open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        number += 1
    print(f"{number} rounds without a difference: {dict(counts)}")
    assert number
