"""Clips that kill, spin or hang: each fails alone, and the next restart tries again what time alone stopped."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.clip_faults import contents, deadly
from support.datasets import flat_config

from pipelines.config import PreprocessConfig
from pipelines.dataset import Dataset
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.write_shard import write_shard
from pipelines.shard import RETRY, Shard
from pipelines.sources import list_clips
from pipelines.storage import Folder

CPU_SECONDS = 3.0


@pytest.fixture
def config(sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreprocessConfig:
    for name in ("a", "kills", "m", "sleeps", "spins", "z"):
        place = tmp_path / f"clips/ann/v/{name}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample_clips["single_face.mp4"], place)
    for name, value in deadly(tmp_path).items():
        monkeypatch.setenv(name, value)
    return flat_config(
        source=str(tmp_path / "clips"),
        dataset=str(tmp_path / "data"),
        size=32,
        every=12,
        min_frames=2,
        cpu_seconds=CPU_SECONDS,
        shard_clips=64,
    )


def test_each_fails_alone_and_hanging_is_tried_again(config: PreprocessConfig, tmp_path: Path):
    source, dataset = Folder.at(config.source), Folder.at(config.dataset)
    clips = tuple(list_clips(source))
    worker = ClipWorker(config)
    rows = []
    try:
        write_shard(Shard("deadly", "val", clips), dataset, worker, rows.append)
    finally:
        worker.close()
    found = {row["clip"].rsplit("/", 1)[-1]: row for row in rows}
    assert {name for name, row in found.items() if row["status"] == "ok"} == {"a", "m", "z"}
    assert "died three times (SIGABRT)" in found["kills"]["reason"]
    assert found["spins"]["reason"] == "took more than 3 s of CPU time"
    assert found["sleeps"]["reason"] == "took more than 30 s; the next run tries again"
    # Once among the others, then twice alone; what only takes too long is not tried again by this run.
    begun = Counter(line.rsplit("/", 1)[-1] for line in (tmp_path / "begun").read_text().split())
    assert begun == {"a": 1, "kills": 3, "m": 1, "sleeps": 1, "spins": 1, "z": 1}
    assert dataset.names(RETRY) == ["deadly"]


def test_a_suspect_that_was_innocent_is_kept(config: PreprocessConfig, tmp_path: Path):
    """The process dies of something else while it has the clip; alone the clip works."""

    class DiesOnce(ClipWorker):
        died = False

        def _ask(self, request, seconds):
            if "clip" in request and not self.died:
                self.died = True
                os.kill(self._process.pid, 9)
            return super()._ask(request, seconds)

    clip = list_clips(Folder.at(config.source))[0]
    worker = DiesOnce(config)
    try:
        row, again = worker.rows(clip, "val", tmp_path / "out.arrow")
    finally:
        worker.close()
    assert worker.died
    assert (row["status"], again) == ("ok", False)


@pytest.mark.system
def test_the_whole_job_goes_on_and_the_restart_mends(config: PreprocessConfig, tmp_path: Path, monkeypatch):
    from pipelines.preprocess.job import preprocess

    summary = preprocess(config)
    assert (summary.ok, summary.failed) == (3, 3)
    before = contents(tmp_path / "data")
    # What killed or spun is known; what hung is tried again, with the clips of its shard.
    monkeypatch.setenv("PYTHONPATH", "")
    (tmp_path / "begun").unlink()
    summary = preprocess(config)
    assert summary.ok == 6
    assert contents(tmp_path / "data") != before
    assert preprocess(config).new_clips == 0
    assert not Dataset.open(config.dataset).clips()["reason"].notna().any()
