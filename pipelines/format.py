"""The tables of a data set: their columns, and how they are written and read.

Everything is deterministic: the same rows give the same bytes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES, sides_from_blendshapes
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, POSE_NAMES
from icface.labels import BASELINE_PERCENTILES, baseline
from pipelines.frame_filters import FILTERS
from pipelines.sources import SPLITS as SPLITS
from pipelines.sources import Clip

VERSION = 1
"""Version of the layout and the columns."""
ROW_GROUP_ROWS = 512
"""Most rows of a row group."""
DROPPED = (
    *("no_face", "several_faces"),
    *(known.name for known in FILTERS),
    *("jitter", "other_track", "short_track", "gap"),
)
"""Why frames that were read were not kept: column `dropped_*` of `clips`."""

LANDMARKS = 68 * 2


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


FRAMES = pa.schema(
    [
        _required("identity", pa.string()),
        _required("video", pa.string()),
        _required("clip", pa.string()),
        _required("track", pa.int16()),
        _required("frame", pa.int32()),
        _required("timestamp", pa.float32()),
        _required("held_out", pa.bool_()),
        _required("image", pa.binary()),
        *(_required(name, pa.float32()) for name in ("box_x", "box_y", "box_w", "box_h")),
        *(_required(name, pa.float32()) for name in ("crop_x", "crop_y", "crop_size")),
        _required("landmarks", pa.list_(pa.float16(), LANDMARKS)),
        # Lists of any length: Parquet gives back no null among lists of a fixed one.
        pa.field("blendshapes", pa.list_(pa.float16())),
        pa.field("face_matrix", pa.list_(pa.float32())),
        *(pa.field(name, pa.float32()) for name in POSE_NAMES),
        *(pa.field(name, pa.float32()) for name in ACTION_UNIT_NAMES),
        _required("confidence", pa.float32()),
    ]
)
"""One row a frame. `landmarks` are 68 pairs x, y one after another, fractions of the crop."""

TRUTH = {
    "mask": pa.schema([_required("mask", pa.binary())]),
    "flow": pa.schema(
        [
            _required("flow", pa.list_(pa.float16())),
            _required("flow_frame", pa.int32()),
            _required("visibility", pa.binary()),
        ]
    ),
}
"""Columns that follow those of `FRAMES` in data sets of synthetic people, by what `--truth` calls them. `flow` holds
size x size pairs x, y, row by row; `mask` and `visibility` are PNGs with one channel."""

CLIPS = pa.schema(
    [
        _required("clip", pa.string()),
        _required("identity", pa.string()),
        _required("video", pa.string()),
        _required("path", pa.string()),
        pa.field("sha256", pa.string()),
        _required("status", pa.string()),
        pa.field("reason", pa.string()),
        *(
            pa.field(name, kind)
            for name, kind in (("fps", pa.float32()), ("width", pa.int32()), ("height", pa.int32()))
        ),
        pa.field("reader", pa.string()),
        _required("frames_read", pa.int32()),
        _required("frames_kept", pa.int32()),
        *(_required(f"dropped_{name}", pa.int32()) for name in DROPPED),
        _required("tracks", pa.int32()),
        pa.field("seconds", pa.float32()),
        *(pa.field(f"baseline_{name}", pa.float32()) for name in BASELINE_PERCENTILES),
        _required("split", pa.string()),
        _required("shard", pa.string()),
    ]
)
"""One row a clip that was found. `path` is relative to the source, `fps` is an average, `reader` decoded it."""

INDEX_SCHEMA = pa.schema(
    [
        _required("file", pa.string()),
        _required("ordinal", pa.int32()),
        _required("split", pa.string()),
        _required("identity", pa.string()),
        _required("clip", pa.string()),
        _required("track", pa.int16()),
        _required("rows", pa.int32()),
        _required("held_out", pa.bool_()),
        *(
            pa.field(f"{name}_{statistic}", pa.int32() if statistic == "nulls" else pa.float32())
            for name in ATTRIBUTE_NAMES
            for statistic in ("min", "max", "mean", "nulls")
        ),
    ]
)
"""One row a row group. The rows of a group are all held out or none is."""


def frames_schema(truth: Collection[str] = ()) -> pa.Schema:
    """The columns of `frames` in a data set with these parts of `TRUTH`."""
    return pa.schema([*FRAMES, *(field for name, schema in TRUTH.items() if name in truth for field in schema)])


def clip_row(clip: Clip) -> dict[str, Any]:
    """The row of `CLIPS` of a clip of which nothing is known yet but its name."""
    row: dict[str, Any] = {"clip": clip.clip, "identity": clip.identity, "video": clip.video, "path": clip.path}
    return row | {"frames_read": 0, "frames_kept": 0, "tracks": 0} | {f"dropped_{name}": 0 for name in DROPPED}


def with_every_reason(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `CLIPS`, also of a data set that is older than some reasons: nothing was dropped for those."""
    return {f"dropped_{name}": 0 for name in DROPPED} | dict(row)


def failed_row(clip: Clip, reason: str) -> dict[str, Any]:
    """The row of `CLIPS` of a clip that could not be read at all."""
    return clip_row(clip) | {"status": "failed", "reason": reason}


def baseline_columns(values: np.ndarray) -> dict[str, float | None]:
    """The columns `baseline_*` of a clip from its (N, 20) attributes; None where it has no baseline."""
    zero = dict(zip(ATTRIBUTE_NAMES, baseline(values, unknown=np.nan).tolist(), strict=True))
    return {f"baseline_{name}": None if np.isnan(zero[name]) else zero[name] for name in BASELINE_PERCENTILES}


class FrameWriter:
    """Writes frames to a Parquet file, one row group a call, and collects the rows of the index."""

    def __init__(self, path: Path, file: str, split: str) -> None:
        """`path`: where to write; `file`: its name in the data set, for the index."""
        self.file, self.split = file, split
        self.index: list[dict[str, Any]] = []
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Write `table` as a row group: at most `ROW_GROUP_ROWS` rows of one track.

        Its columns are those of `FRAMES`, and of `TRUTH` where the first table has them.
        """
        if not 0 < len(table) <= ROW_GROUP_ROWS:
            raise ValueError(f"a row group has 1 to {ROW_GROUP_ROWS} rows, not {len(table)}")
        first = {name: table[name][0].as_py() for name in ("identity", "clip", "track", "held_out")}
        self.index.append(
            {
                "file": self.file,
                "ordinal": len(self.index),
                "split": self.split,
                "rows": len(table),
                **first,
                **attribute_statistics(table),
            }
        )
        self._writer = self._writer or self._opened([name for name in TRUTH if name in table.column_names])
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def close(self) -> None:
        """Write the file's end; without it the file cannot be read."""
        self._writer = self._writer or self._opened([])
        self._writer.close()

    def _opened(self, truth: Sequence[str]) -> pq.ParquetWriter:
        schema = frames_schema(truth)
        pictures = {field.name for field in schema if pa.types.is_binary(field.type)}
        return pq.ParquetWriter(
            self._path,
            schema,
            # JPEGs and PNGs do not get smaller; numbers do.
            compression={name: "NONE" if name in pictures else "ZSTD" for name in _leaves(schema)},
            use_dictionary=["identity", "video", "clip"],
            write_statistics=["clip", "frame"],
            write_page_checksum=True,
        )


def write_table(path: Path, rows: Iterable[Mapping[str, Any]] | pa.Table, schema: pa.Schema) -> None:
    """Write a small table (clips, index) as one Parquet file."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, path, compression="ZSTD", write_statistics=False)


def read_table(
    data: bytes, columns: Sequence[str] | None = None, read_dictionary: Sequence[str] | None = None
) -> pa.Table:
    """A table (clips, index) from the bytes of its Parquet file; columns of `read_dictionary` come as dictionaries.

    No thread is started: those of `pq.read_table` may outlive it, and a process that ends soon after is aborted
    (https://github.com/apache/arrow/issues/34314), which makes a finished job look failed.

    Raises pyarrow.ArrowInvalid when the bytes are not a Parquet file.
    """
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=read_dictionary)
    return file.read(columns=columns, use_threads=False)


def label_columns(sides: bool = False) -> tuple[str, ...]:
    """The columns that `labels_of` needs."""
    return (*ATTRIBUTE_NAMES, "blendshapes") if sides else ATTRIBUTE_NAMES


def labels_of(table: pa.Table, sides: bool = False) -> np.ndarray:
    """(N, 20) float32 raw attributes of a table, in the order of `ATTRIBUTE_NAMES`; NaN where null.

    With `sides` (N, 36) in the order of `LABEL_NAMES`: left and right from the stored blendshapes, NaN without them.
    """
    columns = [table.column(name).to_numpy(zero_copy_only=False) for name in ATTRIBUTE_NAMES]
    labels = np.stack(columns, axis=1).astype(np.float32)
    if not sides:
        return labels
    column = table.column("blendshapes").combine_chunks()
    shapes = np.full((len(table), len(BLENDSHAPE_NAMES)), np.nan, np.float32)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if there.any():
        shapes[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(BLENDSHAPE_NAMES))
    return np.concatenate([labels, sides_from_blendshapes(shapes)], axis=1)


def list_array(values: np.ndarray | None, rows: int, kind: pa.DataType) -> pa.Array:
    """Array of `rows` lists of type `kind` from (rows, n) values, or all null when there are none."""
    if values is None:
        return pa.nulls(rows, kind)
    flat = pa.array(np.ascontiguousarray(values.reshape(-1), kind.value_type.to_pandas_dtype()), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    offsets = np.arange(rows + 1, dtype=np.int32) * (len(flat) // rows)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)


def attribute_statistics(table: pa.Table) -> dict[str, float | int | None]:
    """Minimum, maximum, mean and null count of each attribute."""
    result: dict[str, float | int | None] = {}
    for name in ATTRIBUTE_NAMES:
        values = table[name].drop_null().to_numpy().astype(np.float64)
        for statistic, function in (("min", np.min), ("max", np.max), ("mean", np.mean)):
            result[f"{name}_{statistic}"] = float(function(values)) if len(values) else None
        result[f"{name}_nulls"] = len(table) - len(values)
    return result


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns: a list's values have a name of their own."""
    return [f"{field.name}.list.element" if pa.types.is_nested(field.type) else field.name for field in schema]
