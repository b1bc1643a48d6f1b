"""Motions that synthetic people make: drawn, from the stored curves of a data set, or from a csv file."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import POSE_NAMES
from icface.errors import IcfaceError
from icface.synthetic.camera import Motion
from icface.synthetic.head import UNIT_NAMES
from icface.synthetic.motion import draw_motion, single_moves
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import SPLITS
from pipelines.storage import filesystem
from pipelines.synthesis.config import SINGLE

COMPANIONS = ("frame", "timestamp")
"""Columns that a motion file may have beside units and pose."""
LARGEST_POSE = 0.7
"""Radians: beyond it a file's pose is held."""
COLUMNS = ["blendshapes", *POSE_NAMES]


class Motions(Protocol):
    """Who moves how."""

    def of(self, person: int, frames: int, seed: int) -> Motion:
        """The motion of a person, the same whenever it is asked for."""
        ...


class DrawnMotions:
    """Everybody makes a motion of his own."""

    def of(self, person: int, frames: int, seed: int) -> Motion:
        """The motion of a person in so many frames: a function of the arguments alone."""
        return draw_motion(frames, seed, person)


class SingleMotions:
    """Everybody moves one thing at a time, from the beginning again where there are more frames."""

    def of(self, person: int, frames: int, seed: int) -> Motion:
        """`single_moves`, as long as it is asked for; person and seed change nothing."""
        motion, _ = single_moves()
        rows = np.resize(np.arange(len(motion)), frames)
        return Motion(motion.units[rows], motion.pose[rows], motion.place[rows])


class StoredMotions:
    """Units and pose of tracks of a data set; it may show anybody, since no picture of it is read."""

    def __init__(self, url: str) -> None:
        """Raises IcfaceError when there is no data set at `url` or it holds no blendshapes."""
        self.dataset = Dataset.open(url)
        groups = [
            group
            for split in SPLITS
            for held in (False, True)
            for group in self.dataset.row_groups(split, held_out=held)
        ]
        self.groups: list[RowGroup] = sorted(groups)
        if not self.groups or self.dataset.read(self.groups[0], ["blendshapes"])["blendshapes"].null_count:
            raise IcfaceError(
                f"{url} has no blendshapes, so it tells no motion: it was labelled by {self.dataset.analyzer['name']}. "
                "Give a data set that --analyzer mediapipe made"
            )

    def of(self, person: int, frames: int, seed: int) -> Motion:
        """The motion of a track, drawn by `seed` and `person`; played again where it is shorter than `frames`."""
        group = self.groups[int(np.random.default_rng([seed, person, 8]).integers(len(self.groups)))]
        table = self.dataset.read(group, COLUMNS).to_pandas()
        shapes = np.stack(table["blendshapes"].to_numpy()).astype(np.float32)
        units = np.column_stack([shapes[:, 1:], np.zeros(len(shapes), np.float32)])  # without _neutral; no tongue
        return _repeated(units, table[list(POSE_NAMES)].to_numpy(np.float32), frames)


class FileMotions:
    """Everybody makes the motion of one csv file: a column for each ARKit unit that moves, and for the pose."""

    def __init__(self, url: str) -> None:
        """Raises IcfaceError when the file cannot be read or has a column that is neither a unit nor a pose."""
        fs, path = filesystem(url)
        try:
            with fs.open(path) as file:
                table = pd.read_csv(file, skipinitialspace=True)
        except (OSError, ValueError) as error:
            raise IcfaceError(f"{url} cannot be read: {str(error).splitlines()[0]}") from None
        unknown = [name for name in table.columns if name not in (*UNIT_NAMES, *POSE_NAMES, *COMPANIONS)]
        if unknown:
            raise IcfaceError(
                f"{url}: unknown unit {unknown[0]!r}; a motion file has columns as jawOpen or mouthSmileLeft (ARKit's "
                f"52 units, 0..1) and {', '.join(POSE_NAMES)} in radians"
            )
        if not len(table):
            raise IcfaceError(f"{url} holds no frames")
        wrong = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
        if wrong or table.isna().any(axis=None):
            raise IcfaceError(f"{url}: not every value is a number; fill the empty cells")
        full = table.reindex(columns=[*UNIT_NAMES, *POSE_NAMES], fill_value=0.0).to_numpy(np.float32)
        self.units, self.pose = full[:, : len(UNIT_NAMES)], full[:, len(UNIT_NAMES) :]

    def of(self, person: int, frames: int, seed: int) -> Motion:
        """The file's motion, for everybody; played again where it is shorter than `frames`."""
        return _repeated(self.units, self.pose, frames)


def motions(source: str | None) -> Motions:
    """The motions of `--motion`: a csv file, a data set, `single`, or drawn ones. Raises IcfaceError."""
    if source is None:
        return DrawnMotions()
    if source == SINGLE:
        return SingleMotions()
    return FileMotions(source) if source.lower().endswith(".csv") else StoredMotions(source)


def _repeated(units: npt.NDArray[np.float32], pose: npt.NDArray[np.float32], frames: int) -> Motion:
    """A motion of `frames` frames; a shorter one runs back and forth, so that nothing jumps."""
    there = np.arange(len(units))
    cycle = np.concatenate([there, there[-2:0:-1]])
    row = np.resize(cycle, frames)
    return Motion(
        np.clip(units[row], 0, 1),
        np.clip(pose[row], -LARGEST_POSE, LARGEST_POSE),
        np.zeros((frames, 3), np.float32),
    )
