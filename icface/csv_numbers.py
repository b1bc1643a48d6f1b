"""Numbers in csv files of other programs: what stands for a missing value."""

import numpy as np
import pandas as pd

MISSING = tuple(
    f"{sign}{word}"
    for sign in ("", "-", "+")
    for word in (
        *("nan(ind)", "nan(snan)", "NaN(ind)", "nan", "NaN", "NAN", "inf", "Inf", "INF", "infinity", "Infinity"),
        *("1.#IND", "1.#QNAN", "1.#SNAN", "1.#INF", "1.#J", "1.#R", "1.#INF00", "1.#IND00", "1.#QNAN0"),
    )
)
"""How programs print a value that is none: C's runtime on Windows and Linux, numpy, R. Infinite is missing too."""


def without_infinity(table: pd.DataFrame) -> pd.DataFrame:
    """The table with NaN where a number is infinite, as one that is too large for a float reads."""
    return table.replace([np.inf, -np.inf], np.nan)
