"""Trainings as processes of their own, and what may happen to them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from support.servers import free_port

from benchmarks.process_tree import descendants
from icface.bundle import load_bundle
from icface.training.checkpoint import load_state

STEPS = 60
EVERY = 5
"""Steps between two checkpoints."""
PATIENCE = 600
"""Seconds that anything may take on a busy machine before a test gives up."""


def command(data: Path, name: str, *more: str, steps: int = STEPS) -> list[str]:
    """A training of a tiny model that takes about half a minute and writes a checkpoint every five steps."""
    small = ["--model.size", "32", "--model.width", "8", "--model.blocks", "1", "--model.discriminator-width", "8"]
    small += ["--loss.critic", "0"]  # it would take most of the time
    run = ["--name", name, "--steps", str(steps), "--checkpoint-every", str(EVERY), "--data.batch-size", "4"]
    run += ["--workers", "2", "--log-every", "5", "--images-every", "20"]
    return [sys.executable, "-m", "orchestration", "train", str(data), "--preset", "small", *small, *run, *more]


def start(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start it in `folder`, in a session of its own; its output can be read."""
    return subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a condition; fails when the process ends first."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"it ended with {process.returncode} first: {process.communicate()[1]}")
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpoints(folder: Path) -> list[int]:
    """The steps of the run's checkpoints."""
    return sorted(int(path.name.removeprefix("checkpoint_")) for path in folder.glob("checkpoint_????????"))


def assert_whole(folder: Path) -> None:
    """Everything that looks like a checkpoint can be read, and is of the step that it is named for."""
    for step in checkpoints(folder):
        assert load_state(folder / f"checkpoint_{step:08d}")["steps_done"] == step


def rank_processes(driver: int) -> list[int]:
    """Ray Train's workers among the descendants of the driver."""
    return [process for process, name in descendants(driver).items() if "TrainWorker" in name]


def bundle_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_bundle(folder / "bundle").state_dict()


def assert_same(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """The run's bundle is bit-identical to these weights."""
    found = bundle_weights(folder)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


class TrackingServer:
    """A real `mlflow server` on one port, that can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        # `mlflow server` starts its workers by name.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PATH": path}
            )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self) -> None:
        """End it, at once and with all its workers, as a machine does that loses its power."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def fill(disk: Path) -> Path:
    """Take all the room that is left on a file system; returns the file that takes it."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as stream:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return filler


@contextmanager
def no_room(disk: Path) -> Iterator[None]:
    """Inside the block nothing more fits on a file system: what becomes free there is taken too."""
    over = threading.Event()

    def take() -> None:
        while not over.wait(0.02):
            fill(disk)

    filler, thread = fill(disk), threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        filler.unlink()


def progress(line: str) -> dict | None:
    """The facts of a line of output, when it tells how far the training is."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and facts.get("event") == "progress" else None
