"""Which frames of a data set a model is evaluated on: a fixed list, the same for every model.

- `held_out`: for each training track with held out frames, its source is the frame nearest to neutral among those
  that are not held out, and every held out frame is asked for in turn.
- `val`: for each track of the val split, its source is the frame nearest to neutral, and frames spread evenly over
  the rest of the track are asked for.
- `cross`: each of those tracks' sources with the attributes of another person's frames: the tracks, in order, form
  a ring in which each is driven by the next track of another identity.

At most `per_track` driving frames a track, spread evenly; at most `tracks` tracks a group, spread evenly.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.evaluation.pairs import EvaluationPair, Labels, Pictures
from icface.images import decode_jpeg
from icface.labels import distance_from_neutral
from icface.spread import evenly
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import labels_of
from pipelines.loading.baselines import track_baseline

GROUPS = ("held_out", "val", "cross")
PLACES = ("box_x", "box_y", "box_w", "box_h", "crop_x", "crop_y", "crop_size")
COLUMNS = ["image", *PLACES, *ATTRIBUTE_NAMES]
Place = tuple[RowGroup, int]
"""A row of a row group."""


@dataclass(frozen=True, kw_only=True)
class _Track:
    """A track with its source and the frames that may be asked for."""

    name: str
    identity: str
    source: Place
    source_frame: int
    driving: tuple[tuple[Place, int], ...]
    """Rows and their frame numbers."""


@dataclass(frozen=True)
class _Reference:
    """A pair by its places in the data set."""

    group: str
    source: _Track
    driver: _Track
    place: Place
    frame: int

    @property
    def key(self) -> str:
        return f"{self.group}:{self.source.name}@{self.source.source_frame}>{self.driver.name}@{self.frame}"


class EvaluationPairs:
    """An `icface.evaluation.PairList` over a data set; pictures are read while it is iterated.

    `groups`: some of `GROUPS`; those that the data set has nothing for are empty. Raises IcfaceError when all are.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        groups: Iterable[str] = GROUPS,
        per_track: int = 50,
        tracks: int | None = None,
    ) -> None:
        wanted = tuple(groups)
        unknown = sorted(set(wanted) - set(GROUPS))
        if unknown:
            raise IcfaceError(f"unknown kind of pairs {unknown[0]!r}; known are {', '.join(GROUPS)}")
        if per_track < 1:
            raise ValueError(f"per_track must be at least 1, not {per_track}")
        self._dataset = dataset
        self._references: list[_Reference] = []
        found = {name: evenly(_tracks(dataset, name), tracks) for name in ("held_out", "val")}
        for name, members in found.items():
            if name in wanted:
                self._references += [
                    _Reference(name, track, track, place, frame)
                    for track in members
                    for place, frame in evenly(track.driving, per_track)
                ]
        if "cross" in wanted:
            self._references += [
                _Reference("cross", track, driver, place, frame)
                for members in found.values()
                for track, driver in _ring(members)
                for place, frame in evenly(driver.driving, per_track)
            ]
        if not self._references:
            every = dataset.meta.get("options", {}).get("every", 1)
            after = f" after --every {every}" if every > 1 else ""
            raise IcfaceError(
                f"{dataset.url} has no pairs of the kinds {', '.join(wanted)}: training tracks of 50 frames or "
                f"more{after} have held-out frames, and preprocessing with --val-fraction above 0 makes a val split"
            )
        facts = json.dumps([dataset.hash, [reference.key for reference in self._references]])
        self.hash = hashlib.sha256(facts.encode()).hexdigest()
        """Of the data set's hash and the pairs in order: equal hashes, equal pairs."""

    def __len__(self) -> int:
        return len(self._references)

    def __iter__(self) -> Iterator[EvaluationPair]:
        """The pairs in order. Pictures are (size, size, 3) at the data set's size."""
        kept: dict[RowGroup, pa.Table] = {}
        zeros: dict[str, Labels] = {}
        for reference in self._references:
            needed = (reference.source.source[0], reference.place[0])
            kept = {group: kept[group] if group in kept else self._dataset.read(group, COLUMNS) for group in needed}
            (source_group, source_row), (driving_group, driving_row) = reference.source.source, reference.place
            driving = kept[driving_group].slice(driving_row, 1).to_pylist()[0]
            for track in (reference.source, reference.driver):
                if track.name not in zeros:
                    zeros[track.name] = track_baseline(self._dataset, track.source[0])
            yield EvaluationPair(
                key=reference.key,
                group=reference.group,
                kind="self" if reference.source is reference.driver else "cross",
                source_key=f"{reference.source.name}@{reference.source.source_frame}",
                track=reference.driver.name,
                source=_picture(kept[source_group].column("image")[source_row].as_py()),
                driving=_picture(driving["image"]),
                attributes=labels_of(kept[driving_group].slice(driving_row, 1))[0],
                source_attributes=labels_of(kept[source_group].slice(source_row, 1))[0],
                box=face_box(*(driving[name] for name in PLACES)),
                driving_baseline=zeros[reference.driver.name],
                source_baseline=zeros[reference.source.name],
            )


def _picture(jpeg: bytes) -> Pictures:
    return decode_jpeg(np.frombuffer(jpeg, np.uint8))


def face_box(
    box_x: float, box_y: float, box_w: float, box_h: float, crop_x: float, crop_y: float, crop_size: float
) -> npt.NDArray[np.float32]:
    """(4,) x, y, width, height of a face box in fractions of its crop; all arguments in source pixels.

    >>> face_box(30, 40, 50, 60, 20, 20, 100).round(6).tolist()
    [0.10000000149011612, 0.20000000298023224, 0.5, 0.6000000238418579]
    """
    box = np.array([box_x - crop_x, box_y - crop_y, box_w, box_h], np.float32)
    return box / np.float32(crop_size)


def _tracks(dataset: Dataset, group: str) -> list[_Track]:
    """The tracks of a group that have a source and something to ask for, in order of their names."""
    if group == "held_out":
        sources, asked = _parts(dataset.row_groups("train")), _parts(dataset.row_groups("train", held_out=True))
    else:
        sources = asked = _parts(dataset.row_groups("val"))
    tracks = []
    for name in sorted(sources.keys() & asked.keys()):
        places, frames, labels = _rows(dataset, sources[name])
        _, source_frame, source = min(zip(distance_from_neutral(labels), frames, places, strict=True))
        places, frames, _ = _rows(dataset, asked[name])
        driving = [(place, frame) for place, frame in zip(places, frames, strict=True) if place != source]
        if driving:
            tracks.append(
                _Track(
                    name=name,
                    identity=sources[name][0].identity,
                    source=source,
                    source_frame=source_frame,
                    driving=tuple(driving),
                )
            )
    return tracks


def _parts(row_groups: Iterable[RowGroup]) -> dict[str, list[RowGroup]]:
    """The row groups of each track, by the track's name."""
    parts: dict[str, list[RowGroup]] = defaultdict(list)
    for row_group in row_groups:
        parts[f"{row_group.clip}#{row_group.track}"].append(row_group)
    return parts


def _rows(dataset: Dataset, row_groups: Iterable[RowGroup]) -> tuple[list[Place], list[int], Labels]:
    """Places, frame numbers and raw attributes (N, 20) of a track's rows in order."""
    places: list[Place] = []
    frames: list[int] = []
    labels = []
    for row_group in row_groups:
        table = dataset.read(row_group, ["frame", *ATTRIBUTE_NAMES])
        places += [(row_group, row) for row in range(len(table))]
        frames += table.column("frame").to_pylist()
        labels.append(labels_of(table))
    return places, frames, np.concatenate(labels)


def _ring(tracks: list[_Track]) -> Iterator[tuple[_Track, _Track]]:
    """Each track with the next one, around the ring, of another identity."""
    for index, track in enumerate(tracks):
        for driver in (*tracks[index + 1 :], *tracks[:index]):
            if driver.identity != track.identity:
                yield track, driver
                break
