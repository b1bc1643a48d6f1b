"""The tracks that evaluation pairs are made of: a source each, and the frames that are asked for or looked up."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.arrays import Labels
from icface.attributes import ATTRIBUTE_NAMES
from icface.labels import distance_from_neutral
from icface.spread import evenly
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import label_columns, labels_of

TURNED = np.deg2rad(30.0)
"""Yaw, radians, from which on a face is not used as a source."""
Place = tuple[RowGroup, int]
"""A row of a row group."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackFrames:
    """Frames of a track."""

    places: list[Place]
    numbers: list[int]
    """In the clip."""
    seconds: npt.NDArray[np.float32]
    labels: Labels
    """(N, 20) raw; (N, 36) with sides."""

    def __len__(self) -> int:
        return len(self.places)

    def some(self, rows: Sequence[int]) -> "TrackFrames":
        """The frames of these rows."""
        return TrackFrames(
            places=[self.places[row] for row in rows],
            numbers=[self.numbers[row] for row in rows],
            seconds=self.seconds[list(rows)],
            labels=self.labels[list(rows)],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationTrack:
    """A track with its source, the frames that may be asked for, and those that may be looked up."""

    name: str
    identity: str
    source: Place
    source_frame: int
    turned: bool
    """Whether the source is turned by `TURNED` or more."""
    driving: TrackFrames
    pool: TrackFrames


def tracks_of(dataset: Dataset, group: str, most: int | None, sides: bool = False) -> list[EvaluationTrack]:
    """At most `most` tracks of a group that have a source and something to ask for, spread over their names."""
    if group == "held_out":
        sources, asked = _parts(dataset.row_groups("train")), _parts(dataset.row_groups("train", held_out=True))
    else:
        sources = asked = _parts(dataset.row_groups("val"))
    tracks = []
    for name in evenly(sorted(sources.keys() & asked.keys()), most):
        pool = _frames(dataset, sources[name], sides)
        first = int(np.argmin(distance_from_neutral(pool.labels)))
        driving = _frames(dataset, asked[name], sides) if group == "held_out" else pool
        others = [row for row, place in enumerate(driving.places) if place != pool.places[first]]
        if others:
            tracks.append(
                EvaluationTrack(
                    name=name,
                    identity=sources[name][0].identity,
                    source=pool.places[first],
                    source_frame=pool.numbers[first],
                    turned=bool(abs(pool.labels[first, ATTRIBUTE_NAMES.index("pose_yaw")]) >= TURNED),
                    driving=driving.some(others),
                    pool=pool,
                )
            )
    return tracks


def _parts(row_groups: Iterable[RowGroup]) -> dict[str, list[RowGroup]]:
    """The row groups of each track, by the track's name."""
    parts: dict[str, list[RowGroup]] = defaultdict(list)
    for row_group in row_groups:
        parts[f"{row_group.clip}#{row_group.track}"].append(row_group)
    return parts


def _frames(dataset: Dataset, row_groups: Iterable[RowGroup], sides: bool) -> TrackFrames:
    """A track's rows in order."""
    places: list[Place] = []
    tables = []
    for row_group in row_groups:
        tables.append(dataset.read(row_group, ["frame", "timestamp", *label_columns(sides)]))
        places += [(row_group, row) for row in range(len(tables[-1]))]
    together = pa.concat_tables(tables)
    return TrackFrames(
        places=places,
        numbers=together.column("frame").to_pylist(),
        seconds=together.column("timestamp").to_numpy(),
        labels=labels_of(together, sides),
    )


def longest_run(numbers: Sequence[int]) -> list[int]:
    """The rows of the longest stretch of frames that follow each other at the usual step."""
    steps = np.diff(numbers)
    if not len(steps):
        return list(range(len(numbers)))
    breaks = [0, *(np.flatnonzero(steps != steps.min()) + 1).tolist(), len(numbers)]
    first, last = max(pairwise(breaks), key=lambda ends: ends[1] - ends[0])
    return list(range(first, last))


def ring(tracks: list[EvaluationTrack]) -> Iterator[tuple[EvaluationTrack, EvaluationTrack]]:
    """Each track with the next one, around the ring, of another identity."""
    for index, track in enumerate(tracks):
        for driver in (*tracks[index + 1 :], *tracks[:index]):
            if driver.identity != track.identity:
                yield track, driver
                break
