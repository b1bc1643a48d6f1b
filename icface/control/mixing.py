"""Mixing the pose, the eyes and the mouth of several drivers."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import LABEL_NAMES, REGIONS, sides_of, unit_of
from icface.control.tables import COMPANIONS, seconds
from icface.errors import IcfaceError
from icface.labels import BASELINE_FRAMES, BASELINE_PERCENTILES, baseline, less_baseline

EYES = REGIONS["brows"] + REGIONS["eyes"]
"""FACS's upper face: brows, lids, the cheeks under them, the blink."""
MOUTH = REGIONS["nose"] + REGIONS["mouth"]
"""FACS's lower face: nose, lips, jaw."""


def mix(
    base: pd.DataFrame | None,
    *,
    pose: pd.DataFrame | None = None,
    eyes: pd.DataFrame | None = None,
    mouth: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """`base` with the pose, the upper face (`EYES`) or the lower face (`MOUTH`) of other drivers.

    The same as `mix_regions` with `eyes` for brows and eyes and `mouth` for nose and mouth.

    >>> base = pd.DataFrame({"timestamp": [0.0, 0.5, 1.0], "AU25": [0.0, 0.0, 0.0], "AU45": [1.0, 1.0, 1.0]})
    >>> talking = pd.DataFrame({"timestamp": [0.0, 1.0], "AU25": [0.0, 4.0], "AU45": [0.0, 0.0]})
    >>> mix(base, mouth=talking)[["AU25", "AU45"]].values.tolist()
    [[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]
    """
    return mix_regions(base, {"pose": pose, "brows": eyes, "eyes": eyes, "nose": mouth, "mouth": mouth})


def mix_regions(base: pd.DataFrame | None, parts: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame:
    """`base` with regions of the face (keys of `icface.attributes.REGIONS`) from other drivers.

    The result has the rows of `base`, or of the first part given when there is no base. A part plays at its own speed
    along `timestamp`: its values are interpolated at the base's times. Where it is shorter, its last value is held.
    Where it is longer, its rest is left out. A single picture is held throughout. What a part did not measure stays the
    base's.
    """
    given = [part for part in parts.values() if part is not None]
    if base is None:
        if not given:
            raise ValueError("mix needs a base or a part")
        base = given[0][[name for name in given[0].columns if name in COMPANIONS]]
    result = base.copy()
    times = seconds(base)
    for region, part in parts.items():
        if part is None:
            continue
        own_times = seconds(part)
        for name in names_in(region):
            if name in part.columns:
                values = part[name].to_numpy(np.float64)
                measured = np.isfinite(values)
                if measured.any():
                    result[name] = np.interp(times, own_times[measured], values[measured]).astype(np.float32)
    return result


def names_in(region: str) -> tuple[str, ...]:
    """Columns of a region of the face: its attributes, and the sides of those that have them.

    >>> names_in("nose"), names_in("eyes")[:3]
    (('AU09',), ('AU05', 'AU05L', 'AU05R'))
    """
    return tuple(each for name in REGIONS[region] for each in (name, *sides_of(name)))


def trim(table: pd.DataFrame, start: float | None = None, end: float | None = None) -> pd.DataFrame:
    """The rows from `start` to `end` seconds, both included; their times begin at 0.

    Raises IcfaceError when no row is left.

    >>> trim(pd.DataFrame({"timestamp": [0.0, 0.5, 1.0], "AU12": [0, 1, 2]}), start=0.5)["timestamp"].tolist()
    [0.0, 0.5]
    """
    if start is None and end is None:
        return table
    times = seconds(table)
    low, high = start if start is not None else -np.inf, end if end is not None else np.inf
    kept = (times >= low - 1e-6) & (times <= high + 1e-6)
    if not kept.any():
        raise IcfaceError(f"nothing of the driver lies between {low:g} and {high:g} s; it lasts {times[-1]:.2f} s")
    result = table[kept].reset_index(drop=True)
    result["timestamp"] = times[kept] - times[kept][0]
    return result


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """The table less the driver's own resting face: its zero may differ from the source's.

    The resting face is `icface.labels.baseline` of the rows with a face. Where these are too few to tell it
    (`knows_rest`), it is the first face: then a driver should begin relaxed.

    Raises IcfaceError when the driver has fewer than two faces, and so no motion.
    """
    names = [name for name in LABEL_NAMES if name in table.columns]
    labels = table.reindex(columns=list(LABEL_NAMES)).to_numpy(np.float32)
    faces = labels[_with_face(table)]
    if len(faces) < 2:
        raise IcfaceError("a driver of one face has no motion: drive with several frames, or not relative to its rest")
    zero = baseline(faces)
    if not knows_rest(table):
        at = [index for index, name in enumerate(LABEL_NAMES) if unit_of(name) in BASELINE_PERCENTILES]
        zero[at] = np.nan_to_num(faces[0, at])
    result = table.copy()
    result[names] = pd.DataFrame(less_baseline(labels, zero), table.index, LABEL_NAMES)[names]
    return result


def knows_rest(table: pd.DataFrame) -> bool:
    """Whether a driver has enough faces (`icface.labels.BASELINE_FRAMES`) to tell its person's resting face.

    >>> knows_rest(pd.DataFrame({"AU12": [0.0] * 49}))
    False
    """
    return int(_with_face(table).sum()) >= BASELINE_FRAMES


def _with_face(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return table["face"].to_numpy(bool) if "face" in table.columns else np.full(len(table), True)
