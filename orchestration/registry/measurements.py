"""What an evaluation measured of each pair, as Parquet: two models can be compared pair by pair without a new run.

Two files: `pairs.parquet`, one row a pair, with the pair's key, what was asked and what was found, and
`sources.parquet`, one row a source. Pictures and what tells people apart are not kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from icface.errors import IcfaceError
from icface.evaluation.measurements import Columns, Measurements

PAIRS, SOURCES = "pairs.parquet", "sources.parquet"
NOT_KEPT = ("features", "embedding")
"""Endings of columns that stay in memory: large, or they identify people."""


def save(measured: Measurements, folder: Path) -> None:
    """Write both tables into a folder that is there."""
    for table, name in ((measured.pairs, PAIRS), (measured.sources, SOURCES)):
        kept = {column: values for column, values in table.items() if column.split(":")[-1] not in NOT_KEPT}
        pq.write_table(pa.table({column: _array(values) for column, values in kept.items()}), folder / name)


def load(folder: Path) -> Measurements:
    """What `save` wrote. Raises IcfaceError when a file is missing or cannot be read."""
    try:
        pairs, sources = (_columns(pq.read_table(folder / name, use_threads=False)) for name in (PAIRS, SOURCES))
    except (OSError, pa.ArrowInvalid) as error:
        raise IcfaceError(f"{folder}: the evaluation's pairs cannot be read: {str(error).splitlines()[0]}") from None
    return Measurements(pairs=pairs, sources=sources)


def _array(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype == object else values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)


def _columns(table: pa.Table) -> Columns:
    columns: Columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        whole = column.combine_chunks()
        if pa.types.is_fixed_size_list(whole.type):
            columns[name] = np.asarray(whole.flatten()).reshape(len(whole), -1)
        elif pa.types.is_string(whole.type):
            columns[name] = np.array(whole.to_pylist(), dtype=object)
        else:
            columns[name] = np.asarray(whole)
    return columns
