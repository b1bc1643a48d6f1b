"""A run's checkpoints: whole or not there, locally and on an object store."""

import errno
from pathlib import Path

import pytest
import torch

from icface.errors import IcfaceError
from icface.training.checkpoint import FILE, load_state, save_state
from orchestration.train.checkpoint_store import Checkpoints
from pipelines.storage import Folder


def saving(step: int):
    return lambda folder: save_state(folder, {"steps_done": step})


@pytest.fixture(params=["local", "memory"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    url = str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run"
    return Checkpoints(Folder.at(url))


def test_the_newest_two_are_kept(checkpoints: Checkpoints):
    assert checkpoints.newest() is None
    for step in (2, 4, 100):
        checkpoints.write(step, saving(step))
    assert checkpoints.steps() == [4, 100]
    assert checkpoints.newest() == 100
    for step in (4, 100):
        with checkpoints.reading(step) as folder:
            assert load_state(folder)["steps_done"] == step


def test_a_full_storage_is_one_line_and_costs_nothing(tmp_path: Path):
    checkpoints = Checkpoints(Folder.at(tmp_path))
    checkpoints.write(2, saving(2))

    def full(folder: Path) -> None:
        (folder / FILE).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(IcfaceError, match=r"step 4 .* \(the storage is full\); the one of step 2 is whole: make room"):
        checkpoints.write(4, full)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_00000002"]
    assert load_state(tmp_path / "checkpoint_00000002")["steps_done"] == 2


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path: Path):
    checkpoints = Checkpoints(Folder.at(tmp_path))
    checkpoints.write(2, saving(2))
    left = tmp_path / "checkpoint_00000004.0123456789ab.tmp"
    left.mkdir()
    torch.save({}, left / FILE)
    assert checkpoints.steps() == [2]
    checkpoints.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_00000002"]
