"""Real frames that a training looks at and does not learn from: of the val split, else held-out ones."""

from collections import defaultdict

import numpy as np
import torch

from icface.attributes import AttributeSchema, columns_of, label_names
from icface.images import decode_jpeg, resize
from icface.labels import less_baseline, smooth
from icface.spread import evenly
from icface.training.config import DataConfig
from icface.training.validation import RealFrames
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import label_columns, labels_of
from pipelines.loading.baselines import track_baseline
from pipelines.loading.mixture import Mixture
from pipelines.loading.row_group_reader import smoothing_frames

FRAMES = 256
"""About so many frames."""
PEOPLE = 64
"""Of at most so many people, spread evenly over the list of all."""
GROUPS_OF_ONE = 4
"""Row groups that are read of one person, spread evenly."""


def validation_frames(
    dataset: Dataset | Mixture, config: DataConfig, schema: AttributeSchema, size: int
) -> RealFrames | None:
    """The same frames for every training on `dataset`, as many of each person; None where there are none to be had.

    Of a mixture each data set gives its own. Labels are read as those of the training pairs are (`config`); pictures
    are `size` px.
    """
    people: dict[tuple[int, str], list[RowGroup]] = defaultdict(list)
    parts = Mixture.of(dataset).parts
    for number, part in enumerate(parts):
        for group in part.dataset.row_groups("val") or part.dataset.row_groups("train", held_out=True):
            people[number, group.identity].append(group)
    if not people:
        return None
    chosen = evenly(sorted(people), PEOPLE)
    frames: dict[str, list[np.ndarray]] = defaultdict(list)
    columns = [label_names(config.sides).index(name) for name in schema.names]
    for number, person in enumerate(chosen):
        part = parts[person[0]]
        groups = evenly(people[person], GROUPS_OF_ONE)
        each = -(-FRAMES // (len(chosen) * len(groups)))
        for group in groups:
            table = part.dataset.read(group, ["frame", "image", *label_columns(config.sides)])
            raw = labels_of(table, config.sides)
            raw[:, columns_of(part.ignored, config.sides)] = np.nan
            labels = smooth(table["frame"].to_numpy(), raw, smoothing_frames(part.dataset, config))
            if config.baselines:
                labels = less_baseline(labels, track_baseline(part.dataset, group, config.sides))
            labels = labels[:, columns]
            for row in evenly(range(len(labels)), each):
                picture = resize(decode_jpeg(np.frombuffer(table["image"][row].as_py(), np.uint8)), size)
                frames["pictures"].append(picture.transpose(2, 0, 1))
                frames["encoded"].append(schema.encode(labels[row : row + 1])[0][0])
                frames["measured"].append(schema.measured(labels[row : row + 1])[0])
                frames["identity"].append(np.array(number))
    return RealFrames(**{name: torch.from_numpy(np.stack(values)) for name, values in frames.items()})
