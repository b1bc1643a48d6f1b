"""Filters of the data tab: `AU12 > 1.5`, `AU12 > 1.5 and yaw < -10`."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.control.tables import DEGREES
from icface.errors import IcfaceError
from icface.studio.resolvers import ClipSummary

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One comparison, in raw units."""

    name: str
    sign: str
    bound: float

    def may_hold(self, clip: ClipSummary) -> bool:
        """Whether some frame of the clip can fulfil it."""
        extreme = clip.largest if self.sign.startswith(">") else clip.smallest
        return self.name in extreme and OPERATORS[self.sign](extreme[self.name], self.bound)

    def holds(self, table: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """(N,) bool: the rows that fulfil it; what was not measured does not."""
        return np.asarray(OPERATORS[self.sign](table[self.name].to_numpy(float), self.bound), bool)  # type: ignore[arg-type]


def parse_filter(text: str) -> list[Condition]:
    """The conditions, all of which are to hold; none of an empty text. Pose is in degrees.

    Raises IcfaceError when the text is not a filter.

    >>> [(c.name, c.sign, round(c.bound, 3)) for c in parse_filter("AU12 > 1.5 and yaw <= -10")]
    [('AU12', '>', 1.5), ('pose_yaw', '<=', -0.175)]
    """
    conditions = []
    for part in re.split(r"\s+and\s+|,", text.strip()) if text.strip() else []:
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise IcfaceError(f"{part.strip()!r} is not a filter; write for example AU12 > 1.5 and yaw < -10")
        name, sign, number = match.groups()
        raw = DEGREES.get(name, name)
        if name in POSE_NAMES or raw not in ATTRIBUTE_NAMES:
            known = [*DEGREES, *(n for n in ATTRIBUTE_NAMES if n not in POSE_NAMES)]
            raise IcfaceError(f"unknown attribute {name!r} in the filter; known are {', '.join(known)}")
        bound = math.radians(float(number)) if raw in POSE_NAMES else float(number)
        conditions.append(Condition(name=raw, sign=sign, bound=bound))
    return conditions
