import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from icface.files import follow_umask, replacing
from icface.video.writing import write_gif, write_video


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_format_follows_the_umask(umask: int, tmp_path: Path) -> None:
    frames = [np.zeros((16, 16, 3), np.uint8)] * 3
    write_video(tmp_path / "o.mp4", frames, 25)
    write_gif(tmp_path / "o.gif", frames, 25)
    with replacing(tmp_path / "plain") as path:
        path.write_text("x")
    secret = tmp_path / "secret"
    secret.touch(0o600)
    follow_umask(secret)
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == dict.fromkeys(
        ("o.mp4", "o.gif", "plain", "secret"), 0o666 & ~umask
    )


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "deep" / "file", ".mp4") as path:
        path.write_text("half")
        raise RuntimeError("interrupted")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_block_that_writes_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"
