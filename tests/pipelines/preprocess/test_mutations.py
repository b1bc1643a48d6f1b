"""Damaged clips: every one ends as ok, rejected or failed; no crash, no hang, no partial rows."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.clip_faults import KINDS, mutated

from icface.images import decode_image
from icface.video.reading import read_frames
from icface.video.writing import write_video
from pipelines.config import PreprocessConfig
from pipelines.format import CLIPS, FRAMES
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.write_shard import write_shard
from pipelines.shard import Shard
from pipelines.sources import list_clips
from pipelines.storage import Folder


@pytest.fixture(scope="module")
def small_clip(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """24 frames of the sample clip, 320 x 180."""
    frames = np.concatenate([frames for _, frames in read_frames(sample_clips["single_face.mp4"])])[:24, ::2, ::2]
    path = tmp_path_factory.mktemp("small") / "clip.mp4"
    write_video(path, frames, fps=25.0)
    return path.read_bytes()


def damaged_shard(count: int, seed: int, clips: list[bytes], every: int, folder: Path) -> Counter[str]:
    """Write a shard of `count` damaged clips and look at all of it; how many ended how."""
    random = np.random.default_rng(seed)
    for number in range(count):
        place = folder / f"clips/ann/v/{number:04d}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(mutated(clips[number % len(clips)], KINDS[number % len(KINDS)], random))
    source, dataset = Folder.at(folder / "clips"), Folder.at(folder / "data")
    config = PreprocessConfig(
        source=source.absolute, dataset=dataset.absolute, size=32, every=every, min_frames=2, cpu_seconds=60.0
    )
    found = list_clips(source)
    shard = Shard("damaged", "val", tuple(found))
    worker = ClipWorker(config)
    told = []
    try:
        write_shard(shard, dataset, worker, told.append)
    finally:
        worker.close()
    rows = pq.read_table(folder / "data" / shard.clips_file, schema=CLIPS).to_pylist()
    assert [row["clip"] for row in rows] == [clip.clip for clip in found]
    assert len(told) == count
    kept = {row["clip"]: row["frames_kept"] for row in rows}
    for row in rows:
        assert row["status"] in ("ok", "rejected", "failed")
        assert (row["status"] == "ok") == (row["reason"] is None) == (row["frames_kept"] > 0)
        assert row["reason"] is None or "\n" not in row["reason"]
        # A damaged clip is an error of that clip, not of the process that reads it or the disk it lies on.
        assert "next run" not in (row["reason"] or "")
    written = Counter[str]()
    frames = folder / "data" / shard.frames_file
    if frames.exists():
        table = pq.read_table(frames, schema=FRAMES)
        written.update(table["clip"].to_pylist())
        for image in table["image"].to_pylist():
            assert decode_image(image).shape == (32, 32, 3)
        indices = pq.read_table(folder / "data" / shard.index_file).to_pylist()
        assert sum(row["rows"] for row in indices) == len(table)
    assert written == Counter({clip: count for clip, count in kept.items() if count})
    assert not list((folder / "data").rglob("*.tmp"))
    return Counter(row["status"] for row in rows)


def test_40_damaged_clips(small_clip: bytes, tmp_path: Path):
    statuses = damaged_shard(40, 0, [small_clip], 4, tmp_path)
    # The damage is neither all harmless nor all fatal.
    assert statuses["ok"] > 3
    assert statuses["failed"] + statuses["rejected"] > 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_300_damaged_clips(small_clip: bytes, sample_clips: dict[str, Path], tmp_path: Path):
    whole = [path.read_bytes() for path in sample_clips.values()]
    statuses = damaged_shard(300, 1, [small_clip, *whole], 12, tmp_path)
    print(dict(statuses))
    assert sum(statuses.values()) == 300
