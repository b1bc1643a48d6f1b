"""Checkpoints that are written while a training goes on: one at a time, whole or not there, a failure is told."""

import subprocess
import sys
import threading
from pathlib import Path

import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.training.checkpoint import FILE, HostCopy, load_state, save_state
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from pipelines.storage import Folder

WAIT = 120
"""Seconds after which a test gives up; none waits so long."""


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path: Path):
    """The writer cannot go on before two more steps are done: where a step waited for it, this would end in time."""
    checkpoints, written = Checkpoints(Folder.at(tmp_path)), []
    writer, copy = BackgroundWriter(checkpoints, written.append), HostCopy()
    training = tiny_training(tiny_config())
    begun, go_on = threading.Event(), threading.Event()

    def take(step: int) -> None:
        assert writer.wait() is None
        save = copy.take(training.state())

        def slowly(folder: Path) -> None:
            begun.set()
            assert go_on.wait(WAIT)
            save(folder)

        writer.begin(step, slowly)

    training.step(synthetic_batch(0))
    save_state(tmp_path / "at-once", training.state())
    take(1)
    assert begun.wait(WAIT)
    for step in (1, 2):
        training.step(synthetic_batch(step))
    assert (checkpoints.steps(), written) == ([], []), "it is not there before it is whole"
    go_on.set()
    take(3)  # waits for the first one
    assert written == [1]
    assert writer.wait() is None
    assert (checkpoints.steps(), written) == ([1, 3], [1, 3])
    found, expected = load_state(tmp_path / "checkpoint_00000001"), load_state(tmp_path / "at-once")
    assert found["steps_done"] == 1
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in expected["model"].items())
    assert load_state(tmp_path / "checkpoint_00000003")["steps_done"] == 3


def test_a_write_that_fails_is_told_once_and_costs_nothing(tmp_path: Path):
    checkpoints, written = Checkpoints(Folder.at(tmp_path)), []
    writer = BackgroundWriter(checkpoints, written.append)
    assert writer.wait() is None

    def fail(folder: Path) -> None:
        (folder / FILE).write_bytes(b"half")
        raise OSError("the store is away")

    writer.begin(2, lambda folder: save_state(folder, {"steps_done": 2}))
    assert writer.wait() is None
    assert not writer.has_failed
    writer.begin(4, fail)
    problem = writer.wait()
    assert "the checkpoint of step 4 cannot be written" in str(problem)
    assert "the store is away" in str(problem) and "the one of step 2 is whole" in str(problem)
    assert writer.wait() is None, "it was told"
    assert (checkpoints.steps(), written) == ([2], [2])


def test_a_failure_is_known_before_anybody_waits(tmp_path: Path):
    writer = BackgroundWriter(Checkpoints(Folder.at(tmp_path)), lambda step: None)
    writer.begin(2, lambda folder: 1 / 0)
    for _ in range(WAIT * 100):
        if writer.has_failed:
            break
        threading.Event().wait(0.01)
    assert writer.has_failed
    assert writer.wait() is not None


KILLED = """
import os, signal, sys
from pathlib import Path

from icface.training.checkpoint import FILE, save_state
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from pipelines.storage import Folder

def half(folder):
    (folder / FILE).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

writer = BackgroundWriter(Checkpoints(Folder.at(sys.argv[1])), lambda step: None)
writer.begin(2, lambda folder: save_state(folder, {"steps_done": 2}))
assert writer.wait() is None
writer.begin(4, half)
writer.wait()
"""


def test_a_kill_in_the_middle_leaves_the_one_before(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    checkpoints = Checkpoints(Folder.at(tmp_path))
    assert checkpoints.newest() == 2
    assert load_state(tmp_path / "checkpoint_00000002")["steps_done"] == 2
    assert len(list(tmp_path.iterdir())) == 2, "what was begun lies aside"
    checkpoints.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_00000002"]
