"""The one reader of OpenFace 2's csv files: for labels of a data set and for what drives a portrait.

Frames count from 0, whatever the version counts from. Rows without success or with too low a confidence have no face.
Action units stay on their scale.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import ACTION_UNIT_NAMES, AU_RANGE, POSE_NAMES
from icface.csv_numbers import MISSING, without_infinity
from icface.errors import IcfaceError, first_line

POSE_COLUMNS = ("pose_Rx", "pose_Ry", "pose_Rz")
AU_COLUMNS = tuple(f"{name}_r" for name in ACTION_UNIT_NAMES)
COLUMNS = dict(zip((*POSE_NAMES, *ACTION_UNIT_NAMES), (*POSE_COLUMNS, *AU_COLUMNS), strict=True))
"""Our names to OpenFace's; axes, signs and units are the same."""
LANDMARK_COLUMNS = tuple(f"{axis}_{point}" for point in range(68) for axis in "xy")
LEAST_CONFIDENCE = 0.8
"""Rows of less confidence have no face, unless another bound is asked for."""


def is_openface(columns: "pd.Index[str]") -> bool:
    """Whether a table with these columns is OpenFace's, whose names some versions begin with a space."""
    return any(str(column).strip() in (POSE_COLUMNS[0], AU_COLUMNS[0]) for column in columns)


def sure(rows: pd.DataFrame, confidence: float = LEAST_CONFIDENCE) -> pd.DataFrame:
    """The rows in which OpenFace is sure enough of the face, and knows its pose."""
    posed = rows[list(POSE_COLUMNS)].notna().all(axis=1)
    return rows[(rows["success"] > 0) & (rows["confidence"] >= confidence) & posed]


def one_face(table: pd.DataFrame, confidence: float = LEAST_CONFIDENCE) -> pd.DataFrame:
    """One person's rows in which a face is sure, indexed by the frame's position; other frames are left out.

    Of several people the one that is sure in most frames; without `face_id` the surest row of each frame.
    """
    rows = sure(table, confidence)
    if "face_id" in rows and len(rows):
        rows = rows[rows["face_id"] == rows["face_id"].mode().iloc[0]]
    ranked = rows.sort_values("confidence", ascending=False, kind="stable")
    return ranked[~ranked.index.duplicated()].sort_index()


def read_openface_csv(stream: object, name: str) -> pd.DataFrame:
    """OpenFace's csv as a table of floats, indexed by the frame's position from 0 (several rows for several faces).

    Column names are taken with or without the leading space that some versions write. Raises IcfaceError calling
    the file `name` when it is not such a table, lacks pose or AUs, or leaves out frames.
    """
    try:
        table = pd.read_csv(stream, skipinitialspace=True, na_values=MISSING)  # type: ignore[call-overload]
        table.columns = table.columns.str.strip()
        table = without_infinity(table.astype(np.float64))
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise IcfaceError(f"{name} is not an OpenFace csv: {first_line(error)}") from None
    missing = [column for column in ("frame", "success", "confidence", *POSE_COLUMNS) if column not in table]
    if missing or not any(column in table for column in AU_COLUMNS):
        raise IcfaceError(f"{name} lacks {', '.join(missing) or 'AU intensities'}; run OpenFace with -pose -aus -2Dfp")
    if table.empty:
        raise IcfaceError(f"{name} has no row")
    if table["frame"].isna().any():
        raise IcfaceError(f"{name} has a row without a frame number")
    # FeatureExtraction counts frames from 1, its older versions from 0.
    positions = table["frame"].to_numpy() - (0 if table["frame"].iloc[0] == 0 else 1)
    if not np.array_equal(np.unique(positions), np.arange(positions.max() + 1)):
        raise IcfaceError(f"{name} leaves out frames between 0 and {positions.max():.0f}; analyse the clip again")
    return table.set_axis(positions.astype(np.int64))


def attributes_from_row(row: "pd.Series[float]") -> npt.NDArray[np.float32]:
    """(20,) float32 attributes of a row of OpenFace's table: radians, AUs 0..5, NaN where it has no such column."""
    return attributes_from_rows(row.to_frame().T)[0]


def attributes_from_rows(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    """(N, 20) float32, the same of several rows."""
    values = rows.reindex(columns=list(COLUMNS.values())).to_numpy(np.float32, copy=True)
    values[:, 3:] = np.clip(values[:, 3:], 0, AU_RANGE)
    return values
