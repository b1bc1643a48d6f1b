"""What was measured of pairs and sources, as tables: parts of it can be made anywhere and joined."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.arrays import Pictures
from icface.evaluation.sweeps import Sweep

Columns = dict[str, npt.NDArray[Any]]
"""A table: columns (N, ...) by name."""


@dataclass(frozen=True, kw_only=True)
class SourceSweep:
    """Single attributes stepped on one neutral face."""

    group: str
    swept: list[Sweep]


@dataclass(frozen=True, kw_only=True)
class PixelMoments:
    """How much pictures differ from each other, pixel by pixel, without keeping them. Sums are exact in any order."""

    count: int
    total: npt.NDArray[np.int64]
    """(S, S, 3) sums of values 0..255."""
    squares: npt.NDArray[np.int64]
    """(S, S, 3) sums of their squares."""

    @classmethod
    def of(cls, pictures: Pictures) -> "PixelMoments":
        """Those of (N, S, S, 3) uint8."""
        whole = pictures.astype(np.int64)
        return cls(count=len(pictures), total=whole.sum(axis=0), squares=(whole**2).sum(axis=0))

    def __add__(self, other: "PixelMoments") -> "PixelMoments":
        return PixelMoments(
            count=self.count + other.count, total=self.total + other.total, squares=self.squares + other.squares
        )

    def variance(self) -> float:
        """The variance between the pictures, values 0..1, mean over pixels.

        >>> pictures = np.array([0, 255, 255], np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)
        >>> round(PixelMoments.of(pictures).variance(), 6), round(float((pictures / 255).var(axis=0).mean()), 6)
        (0.222222, 0.222222)
        """
        return float((self.squares / self.count - (self.total / self.count) ** 2).mean() / 255**2)


Moments = dict[tuple[str, str], PixelMoments]
"""(group, `source` or `neutral`) -> the moments of the sources' pictures or neutral faces."""


@dataclass(kw_only=True)
class Measurements:
    """What was measured of some of the pairs."""

    pairs: Columns = field(default_factory=dict)
    """One row a pair; `REFERENCE:METRIC` and `REFERENCE:ANALYZER:found` beside what the pair asks for."""
    sources: Columns = field(default_factory=dict)
    """One row a source and group."""
    moments: Moments = field(default_factory=dict)
    """Of the sources' pictures; empty where there are no neutral faces."""
    swept: list[SourceSweep] = field(default_factory=list)
    clamped: npt.NDArray[np.int64] | None = None
    """(n,) values asked for outside the schema's range."""

    @classmethod
    def joined(cls, parts: Sequence["Measurements"]) -> "Measurements":
        """All parts, in their order."""
        clamped = [part.clamped for part in parts if part.clamped is not None]
        moments: Moments = {}
        for part in parts:
            moments = added(moments, part.moments)
        return cls(
            pairs=concatenated([part.pairs for part in parts]),
            sources=concatenated([part.sources for part in parts]),
            moments=moments,
            swept=[one for part in parts for one in part.swept],
            clamped=np.sum(clamped, axis=0) if clamped else None,
        )

    def group(self, name: str) -> "Measurements":
        """Those of one group of pairs."""
        return Measurements(
            pairs=chosen(self.pairs, self.pairs["group"] == name),
            sources=chosen(self.sources, self.sources["group"] == name),
            moments={key: moments for key, moments in self.moments.items() if key[0] == name},
            swept=[one for one in self.swept if one.group == name],
        )


def added(first: Moments, second: Moments) -> Moments:
    """The moments of both sets of pictures."""
    return {
        key: first[key] + second[key] if key in first and key in second else first.get(key) or second[key]
        for key in {**first, **second}
    }


def concatenated(tables: Sequence[Columns]) -> Columns:
    """The tables' rows one after another; all have the same columns."""
    filled = [table for table in tables if table]
    return {name: np.concatenate([table[name] for table in filled]) for name in filled[0]} if filled else {}


def chosen(table: Columns, rows: npt.NDArray[Any]) -> Columns:
    """Some rows of a table, by mask or number."""
    return {name: column[rows] for name, column in table.items()}


def moments_of(groups: Sequence[str], what: str, pictures: Pictures) -> Moments:
    """The moments of pictures (N, S, S, 3) by their groups (N,); `what`: `source` or `neutral`."""
    names = np.array(groups)
    return {(name, what): PixelMoments.of(pictures[names == name]) for name in dict.fromkeys(groups)}
