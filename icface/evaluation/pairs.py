"""What a model is evaluated on: pairs of a source and a driving frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from icface.attributes import ATTRIBUTE_NAMES
from icface.labels import less_baseline

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.float32]
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
    """(20,) in the order of `ATTRIBUTE_NAMES`, raw: what is asked for; NaN where not measured."""
    source_attributes: Labels
    """(20,) the source's own, raw; NaN where not measured."""
    box: npt.NDArray[np.float32]
    """(4,) the driving frame's face box: x, y, width, height in fractions of the picture."""
    driving_baseline: Labels = field(default_factory=lambda: np.zeros(len(ATTRIBUTE_NAMES), np.float32))
    """(20,) the driving track's own zero (`icface.labels.baseline`); 0 where it has none."""
    source_baseline: Labels = field(default_factory=lambda: np.zeros(len(ATTRIBUTE_NAMES), np.float32))
    """(20,) the source track's."""

    def asked(self, baselines: bool) -> Labels:
        """(20,) what a model is fed; with `baselines` its zero is the person's own."""
        return less_baseline(self.attributes, self.driving_baseline) if baselines else self.attributes

    def own(self, baselines: bool) -> Labels:
        """(20,) the source's own, as the model codes them."""
        return less_baseline(self.source_attributes, self.source_baseline) if baselines else self.source_attributes

    def expected(self, baselines: bool) -> Labels:
        """(20,) what the analyzer should find in the output, on its own scale."""
        return self.asked(baselines) + self.source_baseline if baselines else self.attributes


class PairList(Protocol):
    """Pairs in a fixed order, those of one source after each other."""

    hash: str
    """Only evaluations with equal hashes are compared."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[EvaluationPair]: ...
