"""Pearson's r and ICC of asked and measured values, as sums over people (`icface.metrics.people`)."""

import numpy as np
import numpy.typing as npt

from icface.arrays import Doubles
from icface.metrics.attributes import LEAST_PAIRS, centred
from icface.metrics.people import Estimate, sums

TINY = 1e-12
"""Variance under which measured values are constant but for rounding."""


def correlation(
    asked: npt.ArrayLike,
    found: npt.ArrayLike,
    people: npt.NDArray[np.int64],
    count: int,
    least_deviation: float = 0.0,
) -> Estimate:
    """Pearson's r of (N,) asked and found values over the places where both are measured, -1..1.

    NaN under `LEAST_PAIRS` places, where asked varies by no more than `least_deviation`, or found is constant.
    """

    def of(total: Doubles) -> Doubles:
        n, x, y, xx, yy, xy = np.moveaxis(total, -1, 0)
        var_x, var_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        r = (xy / n - x * y / n**2) / np.sqrt(var_x * var_y)
        says = (n >= LEAST_PAIRS) & (var_x > max(least_deviation**2, TINY)) & (var_y > TINY)
        return np.where(says, np.clip(r, -1, 1), np.nan)

    return Estimate(sums=_moments(asked, found, people, count), of=of)


def icc(asked: npt.ArrayLike, found: npt.ArrayLike, people: npt.NDArray[np.int64], count: int) -> Estimate:
    """ICC(3,1) of two raters, asked and found (N,): consistency of single measurements, -1..1 (Shrout and Fleiss 1979).

    It is (BMS - EMS) / (BMS + EMS) of the two-way analysis of variance. For two raters that is 2 cov / (var + var): as
    r, but a slope other than 1 counts too. NaN under `LEAST_PAIRS` places or where nothing varies.
    """

    def of(total: Doubles) -> Doubles:
        n, x, y, xx, yy, xy = np.moveaxis(total, -1, 0)
        spread = xx / n - (x / n) ** 2 + yy / n - (y / n) ** 2
        together = 2 * (xy / n - x * y / n**2) / spread
        return np.where((n >= LEAST_PAIRS) & (spread > TINY), together, np.nan)

    return Estimate(sums=_moments(asked, found, people, count), of=of)


def person_correlation(
    asked: npt.ArrayLike,
    found: npt.ArrayLike,
    tracks: npt.ArrayLike,
    people: npt.NDArray[np.int64],
    count: int,
    least_deviation: float,
) -> Estimate:
    """The mean over people of each one's r within a track, -1..1; of people who really vary.

    Each track's mean is taken away first. A person counts whose asked values then deviate by `least_deviation` or more.
    Where the picture shows no change at all (found is constant) the person's r is 0.
    """
    a, b = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    pair = centred(np.where(both[:, None], np.stack([a, b], axis=1), np.nan), tracks)
    n, x, y, xx, yy, xy = _moments(pair[:, 0], pair[:, 1], people, count, shift=False).T
    with np.errstate(all="ignore"):
        var_x, var_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        r = np.where(var_y > TINY, (xy / n - x * y / n**2) / np.sqrt(var_x * var_y), 0.0)
        counts = (n >= LEAST_PAIRS) & (np.sqrt(var_x) >= least_deviation)
    return Estimate(sums=np.stack([np.where(counts, r, 0.0), counts], axis=1).astype(np.float64), of=_mean)


def _mean(total: Doubles) -> Doubles:
    return np.asarray(total[..., 0] / total[..., 1])


def _moments(
    asked: npt.ArrayLike, found: npt.ArrayLike, people: npt.NDArray[np.int64], count: int, shift: bool = True
) -> Doubles:
    """(P, 6) n, sums of x, y, x², y², xy where both are measured; shifted by the means, against cancellation."""
    x, y = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(both, x, 0.0), np.where(both, y, 0.0)
    if shift and both.any():
        x, y = np.where(both, x - x[both].mean(), 0.0), np.where(both, y - y[both].mean(), 0.0)
    return sums([both, x, y, x * x, y * y, x * y], people, count)
