"""Choosing some of many, evenly spread."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most `most` of the items in their order, evenly spread, the first and the last among them; None: all.

    >>> evenly(range(10), 4)
    [0, 3, 6, 9]
    """
    if most is None or len(items) <= most:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]
