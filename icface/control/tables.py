"""Tables of attributes: what every part of `icface.control` and the Animator takes and gives.

A table is a pandas DataFrame, one row a frame, in raw units (radians, AU 0..5). Its columns are named as in
`icface.attributes`. Beside them it may have those of `COMPANIONS`. NaN is "not measured". A column that is missing
keeps the source face's own value when a portrait is animated.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, LABEL_NAMES
from icface.errors import IcfaceError

COMPANIONS = ("frame", "timestamp", "face")
"""Columns that a table may have beside attributes: index in the clip, seconds, and whether a face was measured there.
False means filled from the frames around it."""
ANALYZER = "analyzer"
"""Column of files alone: the name of the analyzer whose scale the attributes have, the same in every row."""
DEGREES = {"pitch": "pose_pitch", "yaw": "pose_yaw", "roll": "pose_roll"}
"""Names on the command line and the page, in degrees, of the pose in files and interfaces, in radians."""
ACTION_UNIT_WORDS = {
    "AU01": "inner brow up",
    "AU02": "outer brow up",
    "AU04": "brow down",
    "AU05": "upper lid up",
    "AU06": "cheek up",
    "AU07": "lids tight",
    "AU09": "nose wrinkle",
    "AU10": "upper lip up",
    "AU12": "smile",
    "AU14": "dimple",
    "AU15": "lip corner down",
    "AU17": "chin up",
    "AU20": "lip stretch",
    "AU23": "lips tight",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU45": "blink",
}
"""The action units in plain words (FACS)."""
FACS_NAMES = {
    "AU01": "Inner Brow Raiser",
    "AU02": "Outer Brow Raiser",
    "AU04": "Brow Lowerer",
    "AU05": "Upper Lid Raiser",
    "AU06": "Cheek Raiser",
    "AU07": "Lid Tightener",
    "AU09": "Nose Wrinkler",
    "AU10": "Upper Lip Raiser",
    "AU12": "Lip Corner Puller",
    "AU14": "Dimpler",
    "AU15": "Lip Corner Depressor",
    "AU17": "Chin Raiser",
    "AU20": "Lip Stretcher",
    "AU23": "Lip Tightener",
    "AU25": "Lips Part",
    "AU26": "Jaw Drop",
    "AU45": "Blink",
}
"""FACS's own names of the action units."""
DEFAULT_FPS = 25.0
"""Frames a second of a table that does not say."""
UNEVEN = 0.1
"""Share of the usual step between two frames by which another step may differ before the rate counts as varying."""


def check_columns(table: pd.DataFrame, name: str = "the attribute table") -> None:
    """Raise IcfaceError when a column is neither an attribute, nor one of `COMPANIONS`, nor `ANALYZER`."""
    for column in table.columns:
        if column in DEGREES:
            raise IcfaceError(
                f"{name} has a column {column!r}: tables hold {DEGREES[column]} in radians; degrees are for the "
                "command line and the page alone"
            )
        if column not in LABEL_NAMES and column not in (*COMPANIONS, ANALYZER):
            raise IcfaceError(f"{name} has an unknown column {column!r}; known are {', '.join(ATTRIBUTE_NAMES)}")


def seconds(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """(N,) float64: the time of each row, from `timestamp`, else `frame` at 25 frames/s, else the row's number at that.

    Raises IcfaceError when times do not increase.
    """
    if "timestamp" in table.columns:
        times = table["timestamp"].to_numpy(np.float64)
    elif "frame" in table.columns:
        times = table["frame"].to_numpy(np.float64) / DEFAULT_FPS
    else:
        times = np.arange(len(table)) / DEFAULT_FPS
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise IcfaceError("the rows of an attribute table must be in order of time, each later than the one before")
    return np.asarray(times)


def frames_per_second(table: pd.DataFrame) -> float:
    """The rate of a table's rows, by the median of their distances; `DEFAULT_FPS` of a single row.

    >>> frames_per_second(pd.DataFrame({"timestamp": [0.0, 0.04, 0.08]}))
    25.0
    """
    if len(table) < 2:
        return DEFAULT_FPS
    return float(1 / np.median(np.diff(seconds(table))))


def uneven_times(table: pd.DataFrame) -> list[float] | None:
    """Seconds at which each row is shown, from 0, where their rate varies; None where it is constant.

    >>> uneven_times(pd.DataFrame({"timestamp": [1.0, 1.5, 3.0]}))
    [0.0, 0.5, 2.0]
    """
    times = seconds(table)
    steps = np.diff(times)
    if len(steps) < 1 or np.abs(steps - np.median(steps)).max() <= UNEVEN * np.median(steps):
        return None
    return [float(time) for time in times - times[0]]


def from_zero(table: pd.DataFrame) -> pd.DataFrame:
    """The table with times that count from its first row, as drivers are mixed and trimmed by.

    >>> from_zero(pd.DataFrame({"timestamp": [63.0, 63.5], "AU12": [0.0, 1.0]}))["timestamp"].tolist()
    [0.0, 0.5]
    """
    times = seconds(table)
    return table.assign(timestamp=times - times[:1])
