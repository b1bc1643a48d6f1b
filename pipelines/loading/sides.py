"""A data set's attributes with left and right apart, from the blendshapes that it stores."""

import numpy as np

from icface.attributes import LABEL_NAMES, AttributeSchema, Seen
from icface.errors import IcfaceError
from icface.spread import evenly
from pipelines.dataset import Dataset
from pipelines.format import label_columns, labels_of

SAMPLED_GROUPS = 256
"""Row groups of which the sides' values are counted, evenly spread."""


def training_schema(dataset: Dataset, sides: bool) -> AttributeSchema:
    """The attributes of a training on `dataset`: its own, or with `sides` left and right apart.

    What both have in common stays as the data set counted it; the sides are counted on `SAMPLED_GROUPS` of the row
    groups that are trained on. Raises IcfaceError when there are no blendshapes in them.
    """
    if not sides:
        return dataset.schema
    groups = evenly(dataset.row_groups("train"), SAMPLED_GROUPS)
    tables = [labels_of(dataset.read(group, list(label_columns(sides=True))), sides=True) for group in groups]
    labels = np.concatenate(tables) if tables else np.empty((0, len(LABEL_NAMES)), np.float32)
    known = {attribute.name: attribute for attribute in dataset.schema.attributes}
    schema = AttributeSchema.default(sides=True)
    shares, seen = {}, {}
    for name in schema.names:
        if name in known:
            shares[name] = known[name].measured_share
            if (values := known[name].seen) is not None:
                seen[name] = values
            continue
        column = labels[:, LABEL_NAMES.index(name)]
        column = column[~np.isnan(column)]
        if not len(column) or not dataset.sides_fit:
            raise IcfaceError(
                f"--data.sides: {dataset.url} has no blendshapes of its labels' analyzer, from which left and right "
                f"are told; labels of {dataset.analyzer.get('name', 'unknown')} have none: preprocess with --analyzer "
                "mediapipe"
            )
        shares[name] = len(column) / len(labels)
        low, *middle, high = np.round(np.percentile(column, [0, 1, 50, 99, 100]), 4).tolist()
        seen[name] = Seen(min=low, p01=middle[0], p50=middle[1], p99=middle[2], max=high)
    return schema.with_measured_shares(shares).with_seen(seen)
