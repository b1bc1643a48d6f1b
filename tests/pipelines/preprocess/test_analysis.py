"""Decoding and analysis in processes of their own: the same rows, bounded memory, and what a death costs."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from support.clip_faults import contents, deadly
from support.datasets import flat_config

from benchmarks.process_tree import descendants
from icface.analyzers.face import Face
from icface.errors import IcfaceError
from pipelines.cluster import connect
from pipelines.config import AnalysisConfig, PreprocessConfig
from pipelines.dataset import Dataset
from pipelines.preprocess import shards_on_ray
from pipelines.preprocess.analysis import AnalysisLost, about, actor_count
from pipelines.preprocess.clip_rows import WINDOW_BYTES
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.job import preprocess
from pipelines.sources import list_clips
from pipelines.storage import Folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, as in the processes of the pipeline, which have one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Here:
    """An `Analysis` in this process, which counts what it holds."""

    def __init__(self, config: PreprocessConfig, fails: Callable[[int, str], Exception | None] = lambda n, clip: None):
        self.analyzer = config.create_analyzer()
        self.about = about(self.analyzer)
        self.fails = fails
        self.held: dict[int, tuple[np.ndarray, list[int], str]] = {}
        self.most = self.most_bytes = self.windows = 0

    def begin(self, frames: np.ndarray, indices: list[int], clip: str) -> int:
        self.windows += 1
        self.held[self.windows] = (frames.copy(), indices, clip)
        self.most = max(self.most, len(self.held))
        self.most_bytes = max(self.most_bytes, sum(frames.nbytes for frames, *_ in self.held.values()))
        return self.windows

    def faces(self, ticket: int, seconds: float) -> list[list[Face]]:
        frames, indices, clip = self.held.pop(ticket)
        failure = self.fails(ticket, clip)
        if failure:
            raise failure
        return self.analyzer.analyze(frames, indices, clip)


def options(folder: Path, data: str, **changes: Any) -> PreprocessConfig:
    values = {"size": 32, "every": 1, "min_frames": 2, "val_fraction": 0.0, "shard_clips": 1}
    return flat_config(**{"source": str(folder / "clips"), "dataset": str(folder / data), **values, **changes})


@pytest.fixture(scope="module")
def folder(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three whole clips, and one that is cut in the middle."""
    folder = tmp_path_factory.mktemp("analysis")
    for name in ("a", "b", "c", "cut"):
        place = folder / f"clips/{name}/v/1.mp4"
        place.parent.mkdir(parents=True)
        place.symlink_to(sample_clips["single_face.mp4"])
    place.unlink()
    whole = folder / "index_first.mp4"
    options = {"movflags": "+faststart"}
    with av.open(str(sample_clips["single_face.mp4"])) as source, av.open(str(whole), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    place.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    return folder


def rows_of(config: PreprocessConfig, clip: str, out: Path, analysis: Any = None) -> tuple[dict[str, Any], bytes]:
    clips = {each.clip: each for each in list_clips(Folder.at(config.source))}
    worker = ClipWorker(config, analysis)
    try:
        row, _ = worker.rows(clips[clip], "train", out)
    finally:
        worker.close()
    return row, out.read_bytes() if row["status"] == "ok" else b""


@pytest.mark.parametrize("clip", ["a/v/1", "cut/v/1"])
@pytest.mark.parametrize("analyzer", ["mediapipe", "mediapipe-torch"])
def test_the_same_rows_as_one_process_gives(folder: Path, tmp_path: Path, clip: str, analyzer: str):
    config = options(folder, "data", analyzer=analyzer)
    expected = rows_of(config, clip, tmp_path / "one.arrow")
    there = Here(config)
    assert rows_of(config, clip, tmp_path / "two.arrow", there) == expected
    assert there.windows >= 2
    assert (expected[0]["status"] == "ok") == (clip == "a/v/1")


def test_two_windows_are_held_at_most(folder: Path, tmp_path: Path):
    config = options(folder, "data")
    there = Here(config)
    row, _ = rows_of(config, "a/v/1", tmp_path / "rows.arrow", there)
    assert (there.most, there.held) == (2, {})
    assert there.most_bytes <= 2 * WINDOW_BYTES
    assert there.windows >= row["frames_read"] / there.about["batch_size"]


def test_what_the_analyzer_says_of_a_clip_fails_it_alone(folder: Path, tmp_path: Path):
    config = options(folder, "data")
    there = Here(config, lambda number, clip: IcfaceError("too dark") if number == 2 else None)
    assert rows_of(config, "a/v/1", tmp_path / "rows.arrow", there)[0]["reason"] == "too dark"
    assert rows_of(config, "b/v/1", tmp_path / "rows.arrow", there)[0]["status"] == "ok"


def test_a_clip_whose_analysis_is_lost_is_measured_alone(folder: Path, tmp_path: Path):
    config = options(folder, "data")
    expected = rows_of(config, "b/v/1", tmp_path / "one.arrow")
    there = Here(config, lambda number, clip: AnalysisLost("gone") if number == 3 else None)
    assert rows_of(config, "b/v/1", tmp_path / "two.arrow", there) == expected
    assert there.windows == 3


def test_a_clip_that_kills_whoever_measures_it_fails(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / "clips/kills/v/kills.mp4"
    place.parent.mkdir(parents=True)
    place.symlink_to(folder / "clips/a/v/1.mp4")
    for name, value in deadly(tmp_path, ICFACE_TEST_SPARES="DistantAnalyzer").items():
        monkeypatch.setenv(name, value)
    config = options(tmp_path, "data")
    there = Here(config, lambda number, clip: AnalysisLost("gone"))
    row, _ = rows_of(config, "kills/v/kills", tmp_path / "rows.arrow", there)
    assert "died three times (SIGABRT)" in row["reason"]
    assert (tmp_path / "begun").read_text().split() == ["kills/v/kills"] * 3


def test_how_many_processes_measure():
    config = AnalysisConfig(analyzer="mediapipe-torch")
    assert actor_count(config, 4) == 0
    assert actor_count(replace(config, analyzer_workers=3), 0) == 3
    assert actor_count(replace(config, gpus=0.3), 1) == 3
    assert actor_count(replace(config, gpus=0.1), 1) == 10
    assert actor_count(replace(config, gpus=1, analyzer_workers=0), 1) == 0
    with pytest.raises(IcfaceError, match="needs 1 GPUs, and Ray finds 0"):
        actor_count(replace(config, gpus=1), 0)
    with pytest.raises(IcfaceError, match=r"needs 3 analyzer workers with 0\.5 GPUs each, and Ray finds 1"):
        actor_count(replace(config, gpus=0.5, analyzer_workers=3), 1)


def test_the_job_with_actors_and_one_that_dies(folder: Path, monkeypatch: pytest.MonkeyPatch):
    # The kill must come while clips are left.
    monkeypatch.setattr(shards_on_ray, "PROGRESS_SECONDS", 0.02)
    one = options(folder, "one", every=2, workers=2)
    two = options(folder, "two", every=2, workers=1, analyzer_workers=1)
    killed = threading.Event()

    def kill(progress: Any) -> None:
        actors = [number for number, name in descendants(os.getpid()).items() if "AnalysisActor" in name]
        if progress.new and actors and not killed.is_set():
            killed.set()
            os.kill(actors[0], signal.SIGKILL)

    with connect("local", 2):
        assert preprocess(one).fell_back == 0
        fell_back = preprocess(two, kill).fell_back
    assert killed.is_set()
    assert contents(folder / "two") | {"options.json": b""} == contents(folder / "one") | {"options.json": b""}
    assert Dataset.open(two.dataset).meta["counts"]["ok"] == 3
    assert 1 <= fell_back <= 3, "clips that the dead process had are counted"


def test_a_gpu_that_is_not_there_is_said_at_once(folder: Path):
    config = options(folder, "gpu", workers=1, analyzer="mediapipe-torch", gpus=1.0)
    with connect("local", 1), pytest.raises(IcfaceError, match="needs 1 GPUs, and Ray finds 0"):
        preprocess(config)
