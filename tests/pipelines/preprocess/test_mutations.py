"""Damaged clips: every one ends as ok, rejected or failed; no crash, no hang, no partial rows."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.clip_faults import KINDS, mutated
from support.datasets import flat_config
from support.soak import chosen, part

from icface.images import decode_image
from icface.video.reading import read_frames
from icface.video.writing import write_video
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


def damaged_shard(count: int, seed: int, clips: list[tuple[str, bytes]], every: int, folder: Path) -> Counter[str]:
    """Write a shard of `count` damaged clips (ending and contents) and look at all of it; how many ended how."""
    random = np.random.default_rng(seed)
    for number in range(count):
        suffix, data = clips[number % len(clips)]
        place = folder / f"clips/ann/v/{number:04d}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        # Every kind of damage meets every kind of clip.
        kind = KINDS[(number + number // len(KINDS) + seed) % len(KINDS)]
        place.write_bytes(mutated(data, kind, random))
    source, dataset = Folder.at(folder / "clips"), Folder.at(folder / "data")
    config = flat_config(
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
    statuses = damaged_shard(40, 0, [(".mp4", small_clip)], 4, tmp_path)
    # The damage is neither all harmless nor all fatal.
    assert statuses["ok"] > 3
    assert statuses["failed"] + statuses["rejected"] > 3


CLIPS_A_PART = 50
CONTAINERS = (
    (".mp4", "libx264"),
    (".mkv", "libx265"),
    (".webm", "libvpx-vp9"),
    (".avi", "mpeg4"),
    (".mov", "libx264"),
    (".mp4", "libsvtav1"),
    (".mkv", "mpeg4"),
    (".webm", "libvpx"),
    (".ts", "libx264"),
    (".mov", "mpeg4"),
)
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "10"}}


@pytest.fixture(scope="module")
def clips_of_many_kinds(small_clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """The small clip in several containers and codecs: ending and contents of each."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "clip.mp4").write_bytes(small_clip)
    frames = np.concatenate([frames for _, frames in read_frames(folder / "clip.mp4")])
    made = []
    for number, (suffix, codec) in enumerate(CONTAINERS):
        path = folder / f"{number}{suffix}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
            stream.options = QUIET.get(codec, {})
            for frame in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
        made.append((suffix, path.read_bytes()))
    return made


def test_damaged_clips_of_every_kind(clips_of_many_kinds: list[tuple[str, bytes]], tmp_path: Path):
    statuses = damaged_shard(len(CONTAINERS), 3, clips_of_many_kinds, 8, tmp_path)
    assert sum(statuses.values()) == len(CONTAINERS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", chosen(20))
def test_a_thousand_damaged_clips(seed: int, clips_of_many_kinds: list[tuple[str, bytes]], tmp_path: Path):
    with part("mutations", seed) as found:
        found |= damaged_shard(CLIPS_A_PART, seed, clips_of_many_kinds, 4, tmp_path)
    assert sum(found.values()) == CLIPS_A_PART
