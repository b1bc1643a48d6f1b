"""Mixing the pose, the eyes and the mouth of several drivers."""

import numpy as np
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.control.tables import COMPANIONS, seconds

EYES = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45")
"""FACS's upper face: brows, lids, the cheeks under them, the blink."""
MOUTH = tuple(name for name in ATTRIBUTE_NAMES if name not in (*POSE_NAMES, *EYES))
"""FACS's lower face: nose, lips, jaw."""


def mix(
    base: pd.DataFrame | None,
    *,
    pose: pd.DataFrame | None = None,
    eyes: pd.DataFrame | None = None,
    mouth: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """`base` with the pose, the upper face (`EYES`) or the lower face (`MOUTH`) of other drivers.

    The result has the rows of `base`, or of the first part given when there is no base. A part plays at its own
    speed along `timestamp`: its values are interpolated at the base's times, its last value is held when it is
    shorter, its rest is left out when it is longer; a single picture is held throughout. What a part did not
    measure stays the base's.

    >>> base = pd.DataFrame({"timestamp": [0.0, 0.5, 1.0], "AU25": [0.0, 0.0, 0.0], "AU45": [1.0, 1.0, 1.0]})
    >>> talking = pd.DataFrame({"timestamp": [0.0, 1.0], "AU25": [0.0, 4.0], "AU45": [0.0, 0.0]})
    >>> mix(base, mouth=talking)[["AU25", "AU45"]].values.tolist()
    [[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]
    """
    parts = [(POSE_NAMES, pose), (EYES, eyes), (MOUTH, mouth)]
    given = [part for _, part in parts if part is not None]
    if base is None:
        if not given:
            raise ValueError("mix needs a base or a part")
        base = given[0][[name for name in given[0].columns if name in COMPANIONS]]
    result = base.copy()
    times = seconds(base)
    for names, part in parts:
        if part is None:
            continue
        own_times = seconds(part)
        for name in names:
            if name in part.columns:
                values = part[name].to_numpy(np.float64)
                measured = np.isfinite(values)
                if measured.any():
                    result[name] = np.interp(times, own_times[measured], values[measured]).astype(np.float32)
    return result


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """The table less the driver's own resting face, for a driver whose zero differs from the source's.

    The resting face is, as in a data set's `clips`, the median of pitch and the 20th percentile of each AU; AUs
    end at 0 below. Yaw and roll have no bias that is the person's own and stay.
    """
    result = table.copy()
    for name in table.columns:
        if name == "pose_pitch":
            result[name] = table[name] - table[name].median()
        elif name in ATTRIBUTE_NAMES and name not in POSE_NAMES:
            result[name] = (table[name] - float(table[name].quantile(0.2))).clip(lower=0)
    return result
