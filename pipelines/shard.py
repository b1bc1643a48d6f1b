"""A shard: the clips of one group, written as one Parquet file with its part of the index and of `clips`.

The part of `clips` is written last. A shard is finished when that is there; until then another run may write the
same files again, with the same bytes.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.format import CLIPS, FRAMES, INDEX, FrameWriter, write_table
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.sources import Clip
from pipelines.storage import Folder

RETRY = "retry"
"""Folder of the marks of shards with a clip that the next run is to try again."""


@dataclass(frozen=True)
class Shard:
    """A group of clips of one split."""

    name: str
    split: str
    clips: tuple[Clip, ...]

    @property
    def frames_file(self) -> str:
        return f"frames/split={self.split}/{self.name}.parquet"

    @property
    def index_file(self) -> str:
        return f"index/{self.name}.parquet"

    @property
    def clips_file(self) -> str:
        return f"clips/{self.name}.parquet"


def write_shard(shard: Shard, dataset: Folder, worker: ClipWorker, on_clip: Callable[[dict[str, Any]], None]) -> None:
    """Analyse the shard's clips in order and write it; `on_clip` is told the row of each clip that is done."""
    rows: list[dict[str, Any]] = []
    again = False
    with tempfile.TemporaryDirectory(prefix="icface-") as scratch, dataset.writing(shard.frames_file) as path:
        index: list[dict[str, Any]] = []
        writer: FrameWriter | None = None
        for clip in shard.clips:
            out = Path(scratch) / "clip.arrow"
            row, retry = worker.rows(clip, shard.split, out)
            row |= {"split": shard.split, "shard": shard.name}
            again = again or retry
            if row["status"] == "ok":
                writer = writer or FrameWriter(path, shard.frames_file, shard.split)
                _append(out, writer)
            rows.append(row)
            on_clip(row)
        if writer is not None:
            writer.close()
            index = writer.index
    with dataset.writing(shard.index_file) as path:
        write_table(path, index, INDEX)
    if again:
        dataset.write(f"{RETRY}/{shard.name}", b"")
    with dataset.writing(shard.clips_file) as path:
        write_table(path, rows, CLIPS)


def signature(names: Iterable[str]) -> str:
    """Identifies a data set's contents: the hash of the names of all its shards."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def shard_names(dataset: Folder) -> list[str]:
    """Names of the finished shards of a data set."""
    return [name.removesuffix(".parquet") for name in dataset.names("clips", ".parquet")]


def remove_shard(name: str, dataset: Folder) -> None:
    """Remove a shard; `clips` first, so that what is left of it never counts as finished."""
    dataset.remove(f"clips/{name}.parquet")
    dataset.remove(f"index/{name}.parquet")
    for split in ("train", "val", "test"):
        dataset.remove(f"frames/split={split}/{name}.parquet")


def _append(rows: Path, writer: FrameWriter) -> None:
    with closing(pa.memory_map(str(rows))) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            writer.write(pa.Table.from_batches([reader.get_batch(number)], schema=FRAMES))
