"""What `--dry-run` says before anything is done."""

import shutil
from pathlib import Path

import pytest
from support.datasets import flat_config

from icface.errors import IcfaceError
from pipelines.format import failed_row
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.estimate import estimate


def test_a_few_clips_tell_of_all(sample_clips: dict[str, Path], tmp_path: Path):
    for name in ("a/v/1.mp4", "b/v/1.mp4", "c/v/1.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True)
        shutil.copy(sample_clips["single_face.mp4"], tmp_path / "clips" / name)
    (tmp_path / "clips/c/v/2.mp4").write_text("no video")
    config = flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data"), every=2, size=32)
    found = estimate(config)
    assert (found.clips, found.identities, found.probed, found.unreadable) == (4, 3, 4, 1)
    assert found.frames == pytest.approx(3 * 72 / 2, rel=0.1)
    assert found.core_hours > 0
    # A row of 32 px with landmarks and blendshapes takes about 2 kB.
    assert 1e3 < found.dataset_gb * 1e9 / found.frames < 2e4
    assert not (tmp_path / "data").exists()


def test_nothing_that_can_be_read(tmp_path: Path):
    (tmp_path / "clips/a/v").mkdir(parents=True)
    (tmp_path / "clips/a/v/1.mp4").write_text("no video")
    with pytest.raises(IcfaceError, match="none of the 1 clips"):
        estimate(flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data")))


def test_nothing_that_can_be_analysed(sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "clips/a/v").mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], tmp_path / "clips/a/v/1.mp4")
    monkeypatch.setattr(ClipWorker, "start", lambda self: None)
    slow = "took more than 1 s of CPU time"
    monkeypatch.setattr(ClipWorker, "rows", lambda self, clip, split, out: (failed_row(clip, slow), False))
    with pytest.raises(IcfaceError, match=f"none of the 1 clips looked at can be analysed: {slow}"):
        estimate(flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data")))
