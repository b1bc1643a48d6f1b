"""Writing a shard: its clips are analysed in order, and its three files written, `clips` last."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipelines.format import CLIPS, INDEX_SCHEMA, FrameWriter, write_table
from pipelines.shard import RETRY, Shard
from pipelines.sources import Clip
from pipelines.storage import Folder


class RowMaker(Protocol):
    """Makes the rows of a clip."""

    def rows(self, clip: Clip, split: str, out: Path) -> tuple[dict[str, Any], bool]:
        """Write the frames to `out`, an Arrow file of row groups; the row of `clips`, and whether to try again."""
        ...


def write_shard(shard: Shard, dataset: Folder, worker: RowMaker, on_clip: Callable[[dict[str, Any]], None]) -> None:
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
        write_table(path, index, INDEX_SCHEMA)
    if again:
        dataset.write(f"{RETRY}/{shard.name}", b"")
    with dataset.writing(shard.clips_file) as path:
        write_table(path, rows, CLIPS)


def _append(rows: Path, writer: FrameWriter) -> None:
    with closing(pa.memory_map(str(rows))) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            writer.write(pa.Table.from_batches([reader.get_batch(number)]))
