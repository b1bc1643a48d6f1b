"""Which frames of a data set a model is evaluated on: a fixed list, the same for every model.

- `held_out`: the source of a training track with held out frames is its frame nearest to neutral among those that are
  not held out. Every held out frame is asked for in turn.
- `val`: the source of a track of the val split is its frame nearest to neutral. Frames spread evenly over the rest of
  the track are asked for.
- `cross`: each of those tracks' sources with the attributes of another person's frames. The tracks, in order, form a
  ring in which each is driven by the next track of another identity.

Tracks whose source is turned by 30 degrees or more are left out (`EvaluationPairs.left_out`): half of the face is not
seen in it, and the neutraliser tears it.

Beside each pair stands the frame of the source's track that is nearest in attributes to what is asked. It is what
looking a picture up would give instead of making one. Frames within `APART` of the asked one do not count.

At most `per_track` driving frames a track, spread evenly; at most `tracks` tracks a group, spread evenly.
"""

import hashlib
import json
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.arrays import Labels, Pictures
from icface.errors import IcfaceError
from icface.evaluation.pairs import EvaluationPair, FrameSequence, PairSource
from icface.images import decode_jpeg
from icface.labels import distance_from_neutral, smooth
from icface.spread import evenly
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import label_columns, labels_of
from pipelines.loading.baselines import track_baseline
from pipelines.loading.evaluation_tracks import EvaluationTrack, Place, longest_run, ring, tracks_of

GROUPS = ("held_out", "val", "cross")
PLACES = ("box_x", "box_y", "box_w", "box_h", "crop_x", "crop_y", "crop_size")
COLUMNS = ["image", "landmarks", *PLACES]
"""What is read beside the labels."""
APART = 1.0
"""Seconds between the asked frame and one that is looked up in the same track."""
KEPT_ROW_GROUPS = 8
SEQUENCES, SEQUENCE_FRAMES, LEAST_SEQUENCE = 2, 25, 8
"""Runs of consecutive frames of each group, their frames at most, and at least."""
SMOOTHED_OVER = 3
"""Frames that a smoothed sequence's labels are averaged over."""


@dataclass(frozen=True, eq=False)
class _Reference:
    """A pair by its places in the data set."""

    group: str
    source: EvaluationTrack
    driver: EvaluationTrack
    row: int
    """Of the driver's frames."""

    @property
    def key(self) -> str:
        frame = self.driver.driving.numbers[self.row]
        return f"{self.group}:{self.source_key}>{self.driver.name}@{frame}"

    @property
    def source_key(self) -> str:
        return f"{self.source.name}@{self.source.source_frame}"

    @property
    def kind(self) -> str:
        return "self" if self.source is self.driver else "cross"


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
        sides: bool = False,
    ) -> None:
        """With `sides` labels are (36,), as models want them whose schema has sides; pairs and hash are the same."""
        wanted = tuple(groups)
        unknown = sorted(set(wanted) - set(GROUPS))
        if unknown:
            raise IcfaceError(f"unknown kind of pairs {unknown[0]!r}; known are {', '.join(GROUPS)}")
        if per_track < 1:
            raise ValueError(f"per_track must be at least 1, not {per_track}")
        self._dataset = dataset
        self.sides = sides
        self._read: OrderedDict[RowGroup, pa.Table] = OrderedDict()
        self._zeros: dict[str, Labels] = {}
        self._references: list[_Reference] = []
        needed = {"held_out", "val"} if "cross" in wanted else set(wanted)
        self.left_out: list[str] = []
        """Tracks whose source is turned by `TURNED` or more (evaluation_tracks), half the face is hidden."""
        found = {name: self._tracks_of(name, tracks) if name in needed else [] for name in ("held_out", "val")}
        for name, members in found.items():
            if name in wanted:
                self._references += [
                    _Reference(name, track, track, row)
                    for track in members
                    for row in evenly(range(len(track.driving)), per_track)
                ]
        if "cross" in wanted:
            self._references += [
                _Reference("cross", track, driver, row)
                for members in found.values()
                for track, driver in ring(members)
                for row in evenly(range(len(driver.driving)), per_track)
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

    def _tracks_of(self, group: str, most: int | None) -> list[EvaluationTrack]:
        tracks = tracks_of(self._dataset, group, most, self.sides)
        self.left_out += [track.name for track in tracks if track.turned]
        return [track for track in tracks if not track.turned]

    def __len__(self) -> int:
        return len(self._references)

    def __iter__(self) -> Iterator[EvaluationPair]:
        """The pairs in order. Pictures are (size, size, 3) at the data set's size."""
        return self.some(range(len(self)))

    def some(self, numbers: Iterable[int]) -> Iterator[EvaluationPair]:
        """The pairs with these numbers."""
        for number in numbers:
            yield self._pair(self._references[number])

    def sources(self) -> list[PairSource]:
        """Every source of every group once, in order."""
        known = {(each.group, each.source_key): each.kind for each in self._references}
        return [PairSource(group=group, kind=kind, key=key) for (group, key), kind in known.items()]  # type: ignore[arg-type]

    def by_source(self) -> list[range]:
        """The numbers of the pairs of each source of each group: what should not be torn apart."""
        keys = [(each.group, each.source_key) for each in self._references]
        starts = [n for n, key in enumerate(keys) if n == 0 or key != keys[n - 1]]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]

    def attributes(self) -> Labels:
        """(N, 20) raw, (N, 36) with sides: what each pair asks for."""
        return np.stack([each.driver.driving.labels[each.row] for each in self._references])

    def sequences(self) -> Iterator[FrameSequence]:
        """At most `SEQUENCES` runs of consecutive frames of each group, spread evenly over its sources."""
        ways: dict[str, dict[tuple[str, str], _Reference]] = defaultdict(dict)
        for each in self._references:
            ways[each.group].setdefault((each.source.name, each.driver.name), each)
        for group, members in ways.items():
            runs = [(each, longest_run(each.driver.driving.numbers)) for each in members.values()]
            for each, run in evenly([item for item in runs if len(item[1]) >= LEAST_SEQUENCE], SEQUENCES):
                pairs = [self._pair(replace(each, row=row)) for row in run[:SEQUENCE_FRAMES]]
                frames = np.array([each.driver.driving.numbers[row] for row in run[:SEQUENCE_FRAMES]], np.int32)
                labels = smooth(frames, np.stack([pair.attributes for pair in pairs]), SMOOTHED_OVER)
                smoothed = [replace(pair, attributes=row) for pair, row in zip(pairs, labels, strict=True)]
                yield FrameSequence(group=group, pairs=tuple(pairs), smoothed=tuple(smoothed))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": OrderedDict()}

    def _pair(self, reference: _Reference) -> EvaluationPair:
        source, driver = reference.source, reference.driver
        place = driver.driving.places[reference.row]
        table, row = self._table(place[0]), place[1]
        driving = table.slice(row, 1).to_pylist()[0]
        nearest = self._nearest(reference)
        nothing = np.full_like(driver.driving.labels[reference.row], np.nan)
        box = np.array([driving[name] for name in PLACES], np.float32)
        return EvaluationPair(
            key=reference.key,
            group=reference.group,
            kind=reference.kind,  # type: ignore[arg-type]
            source_key=reference.source_key,
            track=driver.name,
            source=self._picture(source.source),
            driving=_picture(driving["image"]),
            attributes=driver.driving.labels[reference.row],
            source_attributes=labels_of(self._table(source.source[0]).slice(source.source[1], 1), self.sides)[0],
            box=face_box(*box),
            driving_baseline=self._zero(driver),
            source_baseline=self._zero(source),
            identity=source.identity,
            landmarks=np.array(driving["landmarks"], np.float32).reshape(68, 2),
            retrieved=None if nearest is None else self._picture(source.pool.places[nearest]),
            retrieved_attributes=nothing if nearest is None else source.pool.labels[nearest],
        )

    def _nearest(self, reference: _Reference) -> int | None:
        """Which frame of the source's pool has the attributes most like those asked; None where none may be taken."""
        pool, driving = reference.source.pool, reference.driver.driving
        away = distance_from_neutral(pool.labels - driving.labels[reference.row])
        if reference.kind == "self":
            close = np.abs(pool.seconds - driving.seconds[reference.row]) < APART
            away = np.where(close, np.inf, away)
        return int(np.argmin(away)) if len(away) and np.isfinite(away).any() else None

    def _table(self, group: RowGroup) -> pa.Table:
        if group not in self._read:
            self._read[group] = self._dataset.read(group, [*COLUMNS, *label_columns(self.sides)])
        self._read.move_to_end(group)
        while len(self._read) > KEPT_ROW_GROUPS:
            self._read.popitem(last=False)
        return self._read[group]

    def _picture(self, place: Place) -> Pictures:
        return _picture(self._table(place[0]).column("image")[place[1]].as_py())

    def _zero(self, track: EvaluationTrack) -> Labels:
        if track.name not in self._zeros:
            self._zeros[track.name] = track_baseline(self._dataset, track.source[0], self.sides)
        return self._zeros[track.name]


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
