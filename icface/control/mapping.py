"""Attributes that another analyzer measured, brought to the scale that a model was trained on.

All analyzers of this project aim at OpenFace's scale, and none reaches it: on the same face one says AU25 = 1 and
another 2. Driving a model by another's numbers therefore makes all expressions too weak or too strong.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from icface.attributes import POSE_NAMES, AttributeSchema, Seen, unit_of
from icface.control.mixing import knows_rest, relative

SAME_SCALE = {"mediapipe-torch": "mediapipe"}
"""Analyzers that measure the same as another one, up to rounding."""
LEAST_SPREAD = 0.05
"""Intensity between an action unit's median and 99th percentile below which its data tells no scale."""


def same_scale(first: str, second: str) -> bool:
    """Whether two analyzers, by name, have one scale.

    >>> same_scale("mediapipe", "mediapipe-torch"), same_scale("mediapipe", "openface")
    (True, False)
    """
    return SAME_SCALE.get(first, first) == SAME_SCALE.get(second, second)


def map_attributes(table: pd.DataFrame, schema: AttributeSchema, seen: Mapping[str, Seen] | None) -> pd.DataFrame:
    """A driver's table on the scale of `schema`, a model's.

    `seen`: what the other analyzer measured in a whole data set, by attribute. Then each action unit is stretched so
    that its median and its 99th percentile there become the model's. Without it, or where either side is unknown or
    constant, the driver's resting face is taken off (`relative`), where its frames are enough to tell it. Angles are
    angles: yaw and roll stay; pitch, whose zero differs between analyzers, is moved by the difference of the medians.
    """
    result = table.copy()
    rested = relative(table) if knows_rest(table) else table
    for attribute in schema.attributes:
        name, own = attribute.name, attribute.seen
        if name not in table.columns or name in ("pose_yaw", "pose_roll"):
            continue
        other = seen.get(name) or seen.get(unit_of(name)) if seen is not None else None
        values = table[name].to_numpy(np.float64)
        if own is None or other is None:
            result[name] = rested[name].astype(np.float32)
        elif name in POSE_NAMES:
            result[name] = (values - other.p50 + own.p50).astype(np.float32)
        elif min(own.p99 - own.p50, other.p99 - other.p50) < LEAST_SPREAD:
            result[name] = rested[name].astype(np.float32)
        else:
            stretch = (own.p99 - own.p50) / (other.p99 - other.p50)
            result[name] = np.maximum(own.p50 + (values - other.p50) * stretch, attribute.low).astype(np.float32)
    return result
