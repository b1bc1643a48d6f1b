"""The own zero of a track in a data set, for frames outside the row groups that are trained on."""

import numpy as np

from icface.arrays import Labels
from icface.attributes import ATTRIBUTE_NAMES
from icface.labels import baseline
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import labels_of


def track_baseline(dataset: Dataset, group: RowGroup) -> Labels:
    """(20,) `icface.labels.baseline` of the longest row group of `group`'s track, held-out ones left aside."""
    index = dataset.index
    rows = index[(index["clip"] == group.clip) & (index["track"] == group.track) & ~index["held_out"]]
    if not len(rows):
        return np.zeros(len(ATTRIBUTE_NAMES), np.float32)
    longest = rows.sort_values("rows", kind="stable").iloc[-1]
    table = dataset.read_rows(str(longest["file"]), int(longest["ordinal"]), list(ATTRIBUTE_NAMES))
    return baseline(labels_of(table))
