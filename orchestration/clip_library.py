"""Clips of a data set as drivers and for the page: their tables and their stored frames."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from icface.arrays import Picture
from icface.attributes import ATTRIBUTE_NAMES, SIDE_NAMES, Seen
from icface.errors import IcfaceError
from icface.images import decode_jpeg
from icface.studio.resolvers import ClipSummary
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import label_columns, labels_of

SHOWN_CLIPS = 3
"""Clips that an error names."""


class DatasetLibrary:
    """A data set's clips."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name = Path(dataset.url.rstrip("/")).name
        self._last: tuple[RowGroup, dict[int, bytes]] | None = None

    @property
    def analyzer(self) -> str:
        """Name of who measured."""
        return str(self._dataset.analyzer["name"])

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """Which values its training frames show, by attribute."""
        return {a.name: a.seen for a in self._dataset.schema.attributes if a.seen is not None}

    def clips(self) -> Sequence[ClipSummary]:
        """What can be chosen."""
        return self._clips

    def table(self, clip: str) -> pd.DataFrame:
        """`frame`, `timestamp` and raw attributes of its stored frames, with sides where blendshapes are stored.

        Raises IcfaceError for an unknown clip.
        """
        columns = ["frame", "timestamp", *label_columns(sides=True)]
        groups = self._groups_of(clip)
        # A clip may have several tracks: the first one's frames are in order of time.
        groups = [group for group in groups if group.track == groups[0].track]
        stored = pa.concat_tables([self._dataset.read(group, columns) for group in groups])
        table = stored.drop_columns("blendshapes").to_pandas()
        sides = labels_of(stored, sides=True)[:, len(ATTRIBUTE_NAMES) :]
        if self._dataset.sides_fit and np.isfinite(sides).any():
            table[list(SIDE_NAMES)] = sides
        return table.sort_values("frame", ignore_index=True)

    def picture(self, clip: str, frame: int) -> Picture:
        """(S, S, 3) uint8 RGB of a stored frame. Raises IcfaceError when there is none."""
        for group in self._groups_of(clip):
            stored = self._stored(group)
            if frame in stored:
                return decode_jpeg(np.frombuffer(stored[frame], np.uint8))
        raise IcfaceError(f"{clip} has no stored frame {frame}")

    def _stored(self, group: RowGroup) -> dict[int, bytes]:
        """The JPEG of each frame of a row group; the last one is kept, for frames are asked for one after the other."""
        last = self._last
        if last is None or last[0] != group:
            rows = self._dataset.read(group, ["frame", "image"])
            pairs = zip(rows.column("frame").to_pylist(), rows.column("image").to_pylist(), strict=True)
            last = self._last = (group, dict(pairs))
        return last[1]

    def _groups_of(self, clip: str) -> list[RowGroup]:
        if clip not in self._groups:
            some = list(self._groups)[:SHOWN_CLIPS]
            raise IcfaceError(f"there is no clip {clip!r} in {self.name}; it has {', '.join(some)}, ...")
        return self._groups[clip]

    @cached_property
    def _groups(self) -> dict[str, list[RowGroup]]:
        found: dict[str, list[RowGroup]] = {}
        for group in self._dataset.all_row_groups():
            found.setdefault(group.clip, []).append(group)
        return {clip: sorted(groups, key=lambda g: (g.track, g.file, g.ordinal)) for clip, groups in found.items()}

    @cached_property
    def _clips(self) -> list[ClipSummary]:
        index = self._dataset.index
        clips = []
        for clip, rows in index.groupby("clip", sort=True):
            largest = {n: float(rows[f"{n}_max"].max()) for n in ATTRIBUTE_NAMES if rows[f"{n}_max"].notna().any()}
            smallest = {n: float(rows[f"{n}_min"].min()) for n in largest}
            clips.append(
                ClipSummary(
                    clip=str(clip),
                    split=str(rows["split"].iloc[0]),
                    frames=int(rows["rows"].sum()),
                    largest=largest,
                    smallest=smallest,
                )
            )
        return clips
