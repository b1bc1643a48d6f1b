"""Who measures an evaluation's pictures: chosen here, made where the work is done."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from icface import analyzers
from icface.analyzers.face import Analyzer
from icface.errors import IcfaceError
from icface.evaluation.faces import Measurer
from icface.identity import FaceEmbedder
from icface.metrics.realism import Extractor, lite0_features
from pipelines.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class MeasurerChoice:
    """What to measure with. Holds names alone, so that it can be sent to other processes."""

    analyzer: str | None = None
    """Measures instead of the analyzer that labelled the data set, or that measures the same on a GPU."""
    record: Mapping[str, Any] | None = None
    """Of the analyzer that labelled the data set, see `for_data`."""
    second: str | None = None
    """Gives a second opinion, unless it is the first one."""
    embed_every: int | None = None
    """Every such pair of a source and track, and such step, is compared by face recognition; None compares nobody."""
    features: bool = False
    """Whether sets of pictures are compared in EfficientNet-Lite0's features."""
    device: str = "cpu"
    """Where networks run."""
    sides: bool = False
    """Whether left and right are measured apart, as models want it whose schema has sides."""

    def for_data(self, data: Dataset, sides: bool = False) -> "MeasurerChoice":
        """This choice for a data set, and a model that may have `sides`."""
        return replace(self, record=data.analyzer, sides=sides)

    @contextmanager
    def opened(self) -> Iterator[Measurer]:
        """The measurer, closed afterwards. Raises IcfaceError when an analyzer, dlib or weights are missing."""
        first = self._named(self.analyzer) if self.analyzer else analyzers.from_record(self.record or {}, self.device)
        second = None
        try:
            second = self._named(self.second) if self.second and self.second != first.name else None
            yield Measurer(
                analyzer=first,
                second=second,
                embedder=None if self.embed_every is None else FaceEmbedder(),
                embed_every=self.embed_every or 1,
                features=self._extractor() if self.features else None,
                sides=self.sides,
            )
        finally:
            first.close()
            if second is not None:
                second.close()

    def _extractor(self) -> Extractor | None:
        """None where the weights cannot be had: there are no scores of sets of pictures then."""
        try:
            return lite0_features(self.device)
        except IcfaceError:
            return None

    def _named(self, name: str) -> Analyzer:
        return analyzers.create(name, **({"device": self.device} if analyzers.registration(name).uses_gpu else {}))
