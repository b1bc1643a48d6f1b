"""Tables that no clip is needed for: gestures by name and keyframes; and smoothing of those that jitter."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import LABEL_NAMES, AttributeSchema, unit_of
from icface.control.tables import ANALYZER, DEFAULT_FPS, check_columns, seconds
from icface.errors import IcfaceError, first_line

Interpolation = Literal["linear", "smooth"]
Gesture = Literal["smile", "blink", "nod", "shake", "look-around"]
GESTURES: dict[str, tuple[float, dict[str, tuple[float, ...]]]] = {
    "smile": (2.0, {"AU12": (0, 1, 1, 0), "AU06": (0, 0.8, 0.8, 0)}),
    "blink": (1.0, {"AU45": (0, 0, 1, 0, 0)}),
    "nod": (1.6, {"pose_pitch": (0, 0.3, -0.1, 0.3, 0)}),
    "shake": (1.6, {"pose_yaw": (0, 0.3, -0.3, 0.3, 0)}),
    "look-around": (
        4.0,
        {"pose_yaw": (0, 0.45, 0.45, 0, -0.45, -0.45, 0), "pose_pitch": (0, -0.1, 0.1, 0.15, 0.1, -0.1, 0)},
    ),
}
"""Gesture: its seconds, and evenly spaced values of what moves. AUs are shares of what the model has seen (the 99th
percentile), poses are radians added to the source's own."""
UNSEEN_FULL = 1.5
"""Intensity taken for 1 where a model does not say what it has seen."""
LONGEST = 600.0
"""Seconds of keyframes at most."""


def gesture(name: str, schema: AttributeSchema, own: dict[str, float]) -> pd.DataFrame:
    """A gesture at 25 frames/s, from the source's `own` values (raw) and back to them.

    Raises IcfaceError when it is unknown, or the model was not trained on what moves.
    """
    if name not in GESTURES:
        raise IcfaceError(f"unknown gesture {name!r}; known are {', '.join(GESTURES)}")
    length, units = GESTURES[name]
    moves = {moved: values for unit, values in units.items() for moved in schema.meant_by(unit) or (unit,)}
    schema.check_trained(moves)
    times = np.arange(round(length * DEFAULT_FPS) + 1) / DEFAULT_FPS
    table = pd.DataFrame({"timestamp": times})
    for moved, values in moves.items():
        attribute = schema.attributes[schema.index(moved)]
        start = np.nan_to_num(own.get(moved, attribute.neutral), nan=attribute.neutral)
        share = _between(times, np.linspace(0, length, len(values)), np.array(values, float), "smooth")
        if attribute.unit == "rad":
            table[moved] = (start + share).astype(np.float32)
        else:
            full = attribute.seen.p99 if attribute.seen is not None else UNSEEN_FULL
            table[moved] = (start + share * (max(full, start) - start)).astype(np.float32)
    return table


def read_keyframes(path: str | Path, interpolation: Interpolation = "smooth") -> pd.DataFrame:
    """Keyframes as a table at 25 frames/s, from time 0 to the last key.

    A csv has a column `timestamp` (seconds) and attributes in raw units; an empty cell is not a key. A JSON file is a
    list of objects with the same names. Between two keys values run straight, or slow down at each (`smooth`);
    before its first key and after its last one an attribute stays.

    Raises IcfaceError when the file cannot be read, has no key, or names something unknown.
    """
    keys = _read_keys(Path(path))
    if "timestamp" not in keys.columns:
        raise IcfaceError(f"{path}: keyframes need a `timestamp` in seconds")
    return between_keys(keys, interpolation, str(path))


def between_keys(keys: pd.DataFrame, interpolation: Interpolation, path: str) -> pd.DataFrame:
    """Keyframes (a column `timestamp`, NaN is not a key) as a table at 25 frames/s; errors name `path`.

    Raises IcfaceError when there is no key, or one is unknown, no number or out of order.
    """
    check_columns(keys, path)
    keys = keys.drop(columns=ANALYZER, errors="ignore")
    numbers = keys.apply(pd.to_numeric, errors="coerce")
    if (numbers.isna() & keys.notna()).any().any():
        raise IcfaceError(f"{path}: a keyframe holds a value that is not a number")
    names = [name for name in LABEL_NAMES if name in keys.columns and numbers[name].notna().any()]
    if not names:
        raise IcfaceError(f"{path} has no key of any attribute")
    times = seconds(numbers[["timestamp"]])
    if times[0] < 0 or times[-1] > LONGEST:
        raise IcfaceError(f"{path}: keyframes lie from 0 to {LONGEST:g} s, not {times[0]:g} to {times[-1]:g}")
    frames = np.arange(round(times[-1] * DEFAULT_FPS) + 1) / DEFAULT_FPS
    table = pd.DataFrame({"timestamp": frames})
    for name in names:
        there = numbers[name].notna().to_numpy()
        table[name] = _between(frames, times[there], numbers[name].to_numpy(float)[there], interpolation).astype(
            np.float32
        )
    return table


def one_euro(table: pd.DataFrame, cutoff: float = 2.0, speed: float = 1.0) -> pd.DataFrame:
    """The table with the jitter of its attributes filtered and their fast movements kept.

    This is the one-euro filter (Casiez, Roussel, Vogel, CHI 2012) with `cutoff` Hz at rest and `speed` Hz more for each
    unit a second. It runs forwards and backwards, and the mean of both has no delay. Rows that were not measured stay
    so, and so does AU45: blinks are short.
    """
    result = table.copy()
    times = seconds(table)
    for name in LABEL_NAMES:
        if name in table.columns and unit_of(name) != "AU45":
            values = table[name].to_numpy(float, copy=True)
            there = np.isfinite(values)
            forwards = _one_euro(times[there], values[there], cutoff, speed)
            backwards = _one_euro(-times[there][::-1], values[there][::-1], cutoff, speed)[::-1]
            values[there] = (forwards + backwards) / 2
            result[name] = values.astype(np.float32)
    return result


class LiveSmoother:
    """The same filter for attributes that come one row after the other: forwards only, so with a little delay."""

    def __init__(self, cutoff: float = 2.0, speed: float = 1.0) -> None:
        self._cutoff = cutoff
        self._speed = speed
        self._last: tuple[float, dict[str, float], dict[str, float]] | None = None

    def __call__(self, time: float, values: Mapping[str, float]) -> dict[str, float]:
        """The values of this moment (seconds, later than the last one), filtered; AU45 and NaN stay as they are."""
        before = self._last
        filtered, slopes = dict(values), dict.fromkeys(values, 0.0)
        if before is not None:
            step = time - before[0]
            for name, value in values.items():
                last = before[1].get(name, np.nan)
                if unit_of(name) == "AU45" or not (np.isfinite(value) and np.isfinite(last)):
                    continue
                slope = before[2][name]
                slopes[name] = slope + _share(1.0, step) * ((value - last) / step - slope)
                share = _share(self._cutoff + self._speed * abs(slopes[name]), step)
                filtered[name] = last + share * (value - last)
        self._last = (time, filtered, slopes)
        return filtered


def _one_euro(
    times: npt.NDArray[Any], values: npt.NDArray[Any], cutoff: float, speed: float
) -> npt.NDArray[np.float64]:
    filtered = np.array(values, np.float64)
    slope = 0.0
    for index in range(1, len(values)):
        step = times[index] - times[index - 1]
        rate = (values[index] - filtered[index - 1]) / step
        slope += _share(1.0, step) * (rate - slope)
        share = _share(cutoff + speed * abs(slope), step)
        filtered[index] = filtered[index - 1] + share * (values[index] - filtered[index - 1])
    return filtered


def _share(cutoff: float, step: float) -> float:
    """Weight of a new value in a low-pass of first order."""
    turn = 2 * np.pi * cutoff * step
    return float(turn / (turn + 1))


def _between(
    times: npt.NDArray[Any], keys: npt.NDArray[Any], values: npt.NDArray[Any], interpolation: Interpolation
) -> npt.NDArray[np.float64]:
    if interpolation == "linear" or len(keys) < 2:
        return np.interp(times, keys, values)
    before = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 2)
    share = np.clip((times - keys[before]) / (keys[before + 1] - keys[before]), 0, 1)
    share = (1 - np.cos(np.pi * share)) / 2
    return np.asarray(values[before] + share * (values[before + 1] - values[before]))


def _read_keys(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".json":
            keys = json.loads(path.read_text())
            if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys) or not keys:
                raise IcfaceError(f'{path} is not a list of keyframes, as in [{{"timestamp": 0, "AU12": 0}}]')
            return pd.DataFrame(keys)
        return pd.read_csv(path, skipinitialspace=True)
    except OSError as error:
        raise IcfaceError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # pandas' and json's own errors are ones
        raise IcfaceError(f"{path} cannot be read as keyframes: {first_line(error)}") from None
