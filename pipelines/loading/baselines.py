"""The own zero of a track in a data set, for frames outside the row groups that are trained on."""

import numpy as np

from icface.arrays import Labels
from icface.attributes import label_names
from icface.labels import baseline
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import label_columns, labels_of


def track_baseline(dataset: Dataset, group: RowGroup, sides: bool = False) -> Labels:
    """(20,) `icface.labels.baseline` of the longest row group of `group`'s track, held-out ones left aside.

    (36,) with `sides`.
    """
    index = dataset.index
    rows = index[(index["clip"] == group.clip) & (index["track"] == group.track) & ~index["held_out"]]
    if not len(rows):
        return np.zeros(len(label_names(sides)), np.float32)
    longest = rows.sort_values("rows", kind="stable").iloc[-1]
    table = dataset.read_rows(str(longest["file"]), int(longest["ordinal"]), list(label_columns(sides)))
    return baseline(labels_of(table, sides))
