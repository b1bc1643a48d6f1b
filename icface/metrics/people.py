"""Scores with 95 % intervals over people, and whether two models differ on the same pairs.

Frames of one person are alike, so an interval over frames is far too narrow. People are drawn again with replacement
(the cluster bootstrap: Efron and Tibshirani 1993; Davison and Hinkley 1997, section 3.8), each with all of their pairs.
Every score is therefore kept as sums over each person, and a function from the sums of all people to the score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.arrays import Doubles

RESAMPLES = 2000
LEVEL = 0.95
LEAST_PEOPLE = 2
"""One person says nothing about people."""
SEED = 20261127

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score as sums over each person."""

    sums: Doubles
    """(P, k) float64, one row a person."""
    of: Callable[[Doubles], Doubles]
    """Sums (..., k) -> scores (...); NaN where they say nothing."""

    def value(self) -> float | None:
        """The score over everybody; None where it says nothing."""
        with np.errstate(all="ignore"):
            score = float(self.of(self.sums.sum(axis=0)))
        return score if np.isfinite(score) else None

    def interval(self) -> Interval | None:
        """The score's 95 % percentile interval over people; None under `LEAST_PEOPLE` or where it says nothing."""
        return _interval(self._resampled())

    def contributing(self) -> int:
        """People with anything to say."""
        return int((self.sums != 0).any(axis=1).sum())

    def _resampled(self) -> Doubles | None:
        people = len(self.sums)
        if self.contributing() < LEAST_PEOPLE or self.value() is None:
            return None
        draws = np.random.default_rng(SEED).multinomial(people, np.full(people, 1 / people), RESAMPLES)
        with np.errstate(all="ignore"):
            return self.of(draws.astype(np.float64) @ self.sums)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a second model's score differs from a first one's on the same pairs."""

    value: float
    """Second less first."""
    interval: Interval | None
    """95 %, over people; None where there are too few."""
    people: int

    @property
    def real(self) -> bool | None:
        """Whether the interval leaves 0 out; None where there is no interval."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]


def difference(first: Estimate, second: Estimate) -> Difference | None:
    """The paired bootstrap: each draw takes the same people for both, whose rows must be in the same order.

    None where either score says nothing. Raises ValueError where the people differ in number.
    """
    if len(first.sums) != len(second.sums):
        raise ValueError(f"the scores are of {len(first.sums)} and {len(second.sums)} people")
    one, other = first.value(), second.value()
    if one is None or other is None:
        return None
    a, b = first._resampled(), second._resampled()
    interval = None if a is None or b is None else _interval(b - a)
    return Difference(value=other - one, interval=interval, people=max(first.contributing(), second.contributing()))


def mean(values: npt.ArrayLike, people: npt.NDArray[np.int64], count: int) -> Estimate:
    """The mean of (N,) values where they are finite. `people` (N,) number each value's person, 0..`count` - 1.

    >>> mean([1.0, 3.0, np.nan], np.array([0, 0, 1]), 2).value()
    2.0
    """
    column = np.asarray(values, np.float64)
    known = np.isfinite(column)
    return Estimate(sums=sums([np.where(known, column, 0.0), known], people, count), of=ratio)


def ratio(total: Doubles) -> Doubles:
    """The first sum over the second."""
    return np.asarray(total[..., 0] / total[..., 1])


def sums(columns: Sequence[npt.ArrayLike], people: npt.NDArray[np.int64], count: int) -> Doubles:
    """(P, k) sums over each person of k columns (N,)."""
    return np.stack([np.bincount(people, np.asarray(c, np.float64), count) for c in columns], axis=1)


def joined(estimates: Sequence[Estimate], of: Callable[[list[Doubles]], Doubles]) -> Estimate:
    """One score made of several of the same people: `of` takes each one's values (...) and gives (...)."""
    ends = np.cumsum([0, *(estimate.sums.shape[1] for estimate in estimates)])

    def together(total: Doubles) -> Doubles:
        parts = [e.of(total[..., a:b]) for e, a, b in zip(estimates, ends[:-1], ends[1:], strict=True)]
        return np.asarray(of(parts))

    return Estimate(sums=np.concatenate([estimate.sums for estimate in estimates], axis=1), of=together)


def _interval(drawn: Doubles | None) -> Interval | None:
    if drawn is None:
        return None
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < RESAMPLES / 2:  # most draws say nothing: neither does their spread
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)
