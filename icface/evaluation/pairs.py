"""What a model is evaluated on: pairs of a source and a driving frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from icface.arrays import Labels, Pictures
from icface.attributes import ATTRIBUTE_NAMES
from icface.labels import less_baseline

Points = npt.NDArray[np.float32]
Kind = Literal["self", "cross"]


@dataclass(frozen=True, kw_only=True)
class EvaluationPair:
    """A source and what is asked of it."""

    key: str
    """Names the pair: which frames of which clips. Equal keys in one data set are equal pairs."""
    group: str
    """Pairs are reported by group: `held_out`, `val`, `cross`."""
    kind: Kind
    """`self`: `driving` shows the source's own person, so pixels can be compared; `cross`: another."""
    source_key: str
    """Names the source frame; pairs with the same one share their neutral face."""
    track: str
    """Names the driving frame's track."""
    source: Pictures
    """(H, W, 3) uint8 RGB, already cropped by the data set's rule."""
    driving: Pictures
    """(H, W, 3) uint8 RGB: the frame whose attributes are asked for."""
    attributes: Labels
    """(20,) in the order of `ATTRIBUTE_NAMES`, raw: what is asked for; NaN where not measured.

    (36,) where there are sides (`icface.attributes.LABEL_NAMES`); then all labels of a pair are.
    """
    source_attributes: Labels
    """(20,) the source's own, raw; NaN where not measured."""
    box: npt.NDArray[np.float32]
    """(4,) the driving frame's face box: x, y, width, height in fractions of the picture."""
    driving_baseline: Labels = field(default_factory=lambda: np.zeros(len(ATTRIBUTE_NAMES), np.float32))
    """(20,) the driving track's own zero (`icface.labels.baseline`); 0 where it has none."""
    source_baseline: Labels = field(default_factory=lambda: np.zeros(len(ATTRIBUTE_NAMES), np.float32))
    """(20,) the source track's."""
    identity: str = ""
    """The source's person: intervals are over people."""
    landmarks: Points = field(default_factory=lambda: np.full((68, 2), np.nan, np.float32))
    """(68, 2) of the driving frame as labelled, fractions of the picture; NaN where unknown."""
    retrieved: Pictures | None = None
    """(H, W, 3) the frame of the source's track that is nearest to what is asked; None where there is none."""
    retrieved_attributes: Labels = field(default_factory=lambda: np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32))
    """(20,) that frame's, raw."""

    @property
    def person(self) -> str:
        """Who the source shows; the track's name where nobody says."""
        return self.identity or self.source_key.split("@")[0]

    def asked(self, baselines: bool) -> Labels:
        """(20,) what a model is fed; with `baselines` its zero is the person's own."""
        return less_baseline(self.attributes, self.driving_baseline) if baselines else self.attributes

    def own(self, baselines: bool) -> Labels:
        """(20,) the source's own, as the model codes them."""
        return less_baseline(self.source_attributes, self.source_baseline) if baselines else self.source_attributes

    def expected(self, baselines: bool) -> Labels:
        """(20,) what the analyzer should find in the output, on its own scale."""
        return self.asked(baselines) + self.source_baseline if baselines else self.attributes


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """A source of a list of pairs."""

    group: str
    kind: Kind
    key: str


@dataclass(frozen=True, kw_only=True)
class FrameSequence:
    """Consecutive frames of one track asked of one source, in order: the same person's, or another's."""

    group: str
    pairs: tuple[EvaluationPair, ...]
    smoothed: tuple[EvaluationPair, ...]
    """The same, what is asked averaged over neighbouring frames (`icface.labels.smooth`)."""


class PairList(Protocol):
    """Pairs in a fixed order, those of one source after each other."""

    hash: str
    """Only evaluations with equal hashes are compared."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[EvaluationPair]: ...

    def sources(self) -> list[PairSource]:
        """Every source once, in order."""
        ...

    def attributes(self) -> Labels:
        """(N, 20) raw: what each pair asks for."""
        ...

    def sequences(self) -> Iterator[FrameSequence]:
        """Some runs of consecutive frames; there may be none."""
        ...
