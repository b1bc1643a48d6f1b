"""Reading what drives a portrait: a video, a picture, a csv of attributes or an OpenFace 2 csv."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from icface.analyzers.face import Analyzer, Face
from icface.analyzers.following import follow
from icface.analyzers.openface_csv import COLUMNS, attributes_from_rows, is_openface, one_face, read_openface_csv
from icface.attributes import ATTRIBUTE_NAMES, LABEL_NAMES, label_names
from icface.control.motion import Interpolation, between_keys
from icface.control.tables import ANALYZER, COMPANIONS, DEFAULT_FPS, check_columns
from icface.csv_numbers import MISSING, without_infinity
from icface.errors import IcfaceError, first_line
from icface.images import read_image
from icface.labels import smooth
from icface.video.reading import probe, read_windows

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File endings read as one picture; everything else but `.csv` is read as a video."""
LONGEST_GAP = 0.5
"""Seconds without a face that are bridged by interpolation; over a longer gap the last face is held."""
SMOOTHED_FRAMES = 5
"""A video's labels jitter from frame to frame; they are averaged over so many, without delay."""
SEVERAL = "several_faces"
"""In a table's `attrs`: how many of its frames show more than one face."""
KEY_SECONDS = 0.2
"""Rows of a csv that are as far apart are keyframes: nobody films five frames a second."""


def read_driving(
    path: str | Path,
    analyzer: Analyzer | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    interpolation: Interpolation = "smooth",
    sides: bool = False,
) -> pd.DataFrame:
    """The attributes of a driver, one row a frame.

    `path` is a video or a picture, which `analyzer` measures, or a csv. A csv has our column names, or OpenFace 2 wrote
    it, with or without the spaces before its column names. With our names, `frame` and `timestamp` may be missing. Rows
    of a csv that are `KEY_SECONDS` and more apart are keyframes: they become a table at 25 frames/s, whose values run
    between them as `interpolation` says.
    Returns float32 columns in raw units named as in `icface.attributes` (those that a csv has), and `frame` (int),
    `timestamp` (seconds) and `face` (bool). Where no face is measured, `face` is False and the row is filled. A gap of
    at most `LONGEST_GAP` is interpolated. Over a longer one the last face is held (at the start, the first). NaN is
    left where a face's attribute is not measured. With `sides` what `analyzer` measures has columns for left and right
    too, as AU12L (`icface.attributes.SIDE_NAMES`).

    In a video the largest face of the first frame that has one is followed by overlap. What is measured is averaged
    over `SMOOTHED_FRAMES` neighbouring frames, as it is for training. AU45 is not averaged: blinks are short. The
    table's `attrs[SEVERAL]` counts the frames that show other faces too.
    `progress` is told the frames measured and their number, as far as the header knows.

    Raises IcfaceError when the file is missing or cannot be read, no face is found, or a csv's columns are unknown.
    """
    file = Path(path)
    if not file.is_file():
        raise IcfaceError(f"{path}: there is no such file to drive with")
    if file.suffix.lower() == ".csv":
        table = fill_gaps(_read_csv(file))
        if not sparse(table):
            return table
        keys = table.drop(columns=["frame", "face"]).assign(timestamp=table["timestamp"] - table["timestamp"].iloc[0])
        return between_keys(keys, interpolation, str(path)).assign(face=True)
    if analyzer is None:
        raise ValueError("a video or a picture needs an analyzer")
    picture = file.suffix.lower() in PICTURES
    table = _read_picture(file, analyzer, sides) if picture else measure_video(file, analyzer, progress, sides)[0]
    if not table["face"].any():
        raise IcfaceError(f"{path}: no face is found in it; take a driver whose face can be seen")
    return fill_gaps(table)


def sparse(table: pd.DataFrame) -> bool:
    """Whether a table's rows are keyframes rather than frames: `KEY_SECONDS` and more apart, by the median.

    >>> sparse(pd.DataFrame({"timestamp": [0.0, 0.5, 1.0]})), sparse(pd.DataFrame({"timestamp": [0.0, 0.1, 1.0]}))
    (True, True)
    >>> sparse(pd.DataFrame({"timestamp": [0.0, 0.04, 0.08]}))
    False
    """
    return len(table) > 1 and float(np.median(np.diff(table["timestamp"]))) >= KEY_SECONDS - 1e-6


def measured_by(path: str | Path) -> str | None:
    """Name of the analyzer whose scale a csv's attributes have; None when it does not say.

    OpenFace's own files are known by their columns, those that icface writes by their column `analyzer`. A missing or
    damaged file gives None: whoever reads it says so.
    """
    try:
        head = pd.read_csv(path, skipinitialspace=True, nrows=1, dtype=str)
    except (OSError, ValueError):
        return None
    if is_openface(head.columns):
        return "openface"
    return str(head[ANALYZER].iloc[0]) if ANALYZER in head.columns and len(head) else None


def fill_gaps(table: pd.DataFrame, longest: float = LONGEST_GAP) -> pd.DataFrame:
    """The table with the attributes of rows without a face (`face` False) filled from those around them.

    A gap between two faces of at most `longest` seconds is interpolated along `timestamp`. In a longer one the last
    face is held, at the start the first. An attribute that was never measured stays NaN.

    >>> table = pd.DataFrame({"timestamp": [0.0, 0.1, 0.2], "face": [True, False, True], "AU12": [1.0, np.nan, 2.0]})
    >>> fill_gaps(table)["AU12"].tolist()
    [1.0, 1.5, 2.0]
    """
    result = table.copy()
    times = table["timestamp"].to_numpy(np.float64)
    faces = np.flatnonzero(table["face"].to_numpy(bool))
    gaps = np.flatnonzero(~table["face"].to_numpy(bool))
    if len(faces) == 0 or len(gaps) == 0:
        return result
    after = np.searchsorted(faces, gaps)
    before = faces[np.maximum(after - 1, 0)]
    following = faces[np.minimum(after, len(faces) - 1)]
    bridged = (before < gaps) & (following > gaps) & (times[following] - times[before] <= longest)
    span = np.where(bridged, times[following] - times[before], 1.0)
    share = np.where(bridged, (times[gaps] - times[before]) / span, 0.0)
    for name in LABEL_NAMES:
        if name in table.columns:
            values = table[name].to_numpy(np.float32, copy=True)
            start, end = values[before], values[following]
            # An end that was not measured leaves the start's value, not a NaN.
            values[gaps] = np.where(bridged & np.isfinite(end), (1 - share) * start + share * end, start)
            result[name] = values
    return result


def _read_picture(path: Path, analyzer: Analyzer, sides: bool) -> pd.DataFrame:
    faces = analyzer.analyze(read_image(path)[None], [0], str(path))[0]
    table = _table([0], [0.0], [faces[0] if faces else None], sides)
    table.attrs[SEVERAL] = int(len(faces) > 1)
    return table


def measure_video(
    path: Path, analyzer: Analyzer, progress: Callable[[int, int], None], sides: bool = False
) -> tuple[pd.DataFrame, list[Face | None]]:
    """A table as `read_driving` gives it, its gaps not filled, and the followed face of each frame."""
    expected = probe(path).frames
    indices: list[int] = []
    times: list[float] = []
    followed: list[Face | None] = []
    several = 0
    last: Face | None = None
    for window in read_windows(path, window=analyzer.batch_size):
        for faces in analyzer.analyze(window.frames, window.indices, str(path)):
            face = follow(faces, last.box if last is not None else None) or (faces[0] if faces else None)
            several += len(faces) > 1
            followed.append(face)
            last = face or last
        indices += window.indices
        times += window.times
        progress(len(indices), max(expected, len(indices)))
    table = _table(indices, times, followed, sides)
    names = list(label_names(sides))
    labels = table[names].to_numpy(np.float32)
    table[names] = smooth(np.array(indices, np.int32), labels, SMOOTHED_FRAMES)
    table.attrs[SEVERAL] = several
    return table, followed


def _table(indices: list[int], times: list[float], faces: list[Face | None], sides: bool) -> pd.DataFrame:
    names = label_names(sides)
    missing = np.full(len(names), np.nan, np.float32)
    values = np.array([missing if face is None else face.labels(sides) for face in faces], np.float32)
    table = pd.DataFrame(values.reshape(-1, len(names)), columns=list(names))
    table.insert(0, "frame", np.array(indices, np.int64))
    table.insert(1, "timestamp", np.array(times, np.float64))
    table.insert(2, "face", [face is not None for face in faces])
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = without_infinity(pd.read_csv(path, skipinitialspace=True, na_values=MISSING))
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise IcfaceError(f"{path} cannot be read as a csv: {first_line(error)}") from None
    if is_openface(table.columns):
        return _read_openface(path)
    table.columns = [str(column).strip() for column in table.columns]
    table = table.drop(columns=ANALYZER, errors="ignore")
    check_columns(table, str(path))
    names = [name for name in LABEL_NAMES if name in table.columns]
    if not names:
        raise IcfaceError(f"{path} has no attribute column; known are {', '.join(ATTRIBUTE_NAMES)}")
    if table.empty:
        raise IcfaceError(f"{path} has no rows")
    for name in (*names, *(c for c in COMPANIONS if c in table.columns)):
        table[name] = _numbers(table[name], path)
    result = pd.DataFrame({name: table[name].astype(np.float32) for name in names})
    frame = table["frame"] if "frame" in table.columns else pd.Series(np.arange(len(table)))
    result.insert(0, "frame", frame.astype(np.int64))
    result.insert(1, "timestamp", table["timestamp"] if "timestamp" in table.columns else frame / DEFAULT_FPS)
    result.insert(2, "face", table["face"].astype(bool) if "face" in table.columns else True)
    if not result["face"].any():
        raise IcfaceError(f"{path}: no row of it has a face")
    return result


def _read_openface(path: Path) -> pd.DataFrame:
    """One person's labels; a frame without a sure face of theirs is one without a face."""
    with path.open("rb") as stream:
        table = read_openface_csv(stream, str(path))
    rows = one_face(table)
    if rows.empty:
        raise IcfaceError(f"{path}: no row of it has a face of which OpenFace is sure")
    frames = np.arange(int(table.index.max()) + 1)
    names = [name for name, column in COLUMNS.items() if column in table]
    labels = pd.DataFrame(attributes_from_rows(rows), rows.index, list(COLUMNS)).reindex(frames)
    result = pd.DataFrame({name: labels[name] for name in names})
    result.insert(0, "frame", frames.astype(np.int64))
    first = table[~table.index.duplicated()]
    times = first["timestamp"].to_numpy() if "timestamp" in first else frames / DEFAULT_FPS
    result.insert(1, "timestamp", times)
    result.insert(2, "face", np.isin(frames, rows.index))
    return result.reset_index(drop=True)


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & column.notna()
    if column.name in COMPANIONS:
        bad |= numbers.isna()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise IcfaceError(
            f"{path}: column {column.name} holds {column.iloc[row]!r} in row {row + 1}, which is not a number"
        )
    return numbers
