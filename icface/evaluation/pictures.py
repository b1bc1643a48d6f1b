"""Scoring pictures that are there already (`Predictions`), on the path of those that a model makes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from icface.attributes import AttributeSchema
from icface.errors import IcfaceError
from icface.evaluation.faces import Measurer
from icface.evaluation.measurements import Measurements, SourceSweep
from icface.evaluation.measuring import looked_at
from icface.evaluation.pairs import EvaluationPair, PairList, Pictures
from icface.evaluation.predictions import Predictions
from icface.evaluation.reenact import Conditions, make_report, measure_all
from icface.evaluation.rendering import Rendered, sized
from icface.evaluation.report import Report
from icface.evaluation.sweeps import Sweep
from icface.images import read_image


class PictureRenderer:
    """An `icface.evaluation.rendering.Renderer` that reads what is asked of it."""

    baselines = False

    def __init__(self, predictions: Predictions, schema: AttributeSchema) -> None:
        """`schema` names the attributes that are scored where the predictions have none of their own."""
        self.predictions = predictions
        self.size = predictions.size
        self.schema = predictions.schema or schema

    def render(self, pairs: Sequence[EvaluationPair]) -> Rendered:
        """Raises IcfaceError when a pair has no picture, or a picture cannot be read or is not square."""
        of_pair, of_source = self.predictions.of_pair, self.predictions.of_source
        neutral = self.read(of_source(pair.source_key) for pair in pairs) if self.predictions.neutral else None
        return Rendered(pictures=self.read(of_pair(pair.key) for pair in pairs), neutral=neutral)

    def read(self, files: Iterable[Path]) -> Pictures:
        """(N, S, S, 3) uint8 RGB at the size of the comparison. Raises IcfaceError when one is not square."""
        pictures = []
        for file in files:
            picture = read_image(file)
            if picture.shape[0] != picture.shape[1]:
                raise IcfaceError(f"{file}: a picture must be square, not {picture.shape[1]} x {picture.shape[0]}")
            pictures.append(picture)
        return sized(pictures, self.size)


def evaluate_pictures(
    predictions: Predictions,
    pairs: PairList,
    measurer: Measurer,
    schema: AttributeSchema,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score the pictures of `predictions` on `pairs`, some or all of those that they were made of.

    Without neutral faces or sweeps the scores of these are missing. Raises IcfaceError as `PictureRenderer.render`.
    """
    return measure_pictures(predictions, pairs, measurer, schema, progress)[0]


def measure_pictures(
    predictions: Predictions,
    pairs: PairList,
    measurer: Measurer,
    schema: AttributeSchema,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Report, Measurements]:
    """The report of `evaluate_pictures`, and what was measured."""
    renderer = PictureRenderer(predictions, schema)
    measured, _ = measure_all(renderer, pairs, measurer, progress=progress)
    measured.swept += _sweeps(renderer, measured, measurer)
    return make_report(Conditions.of(renderer, pairs, measurer), measured), measured


def _sweeps(renderer: PictureRenderer, measured: Measurements, measurer: Measurer) -> list[SourceSweep]:
    """The sweeps of the sources of groups of kind `self`.

    Raises IcfaceError when the sources of one attribute have different numbers of pictures.
    """
    predictions, sources = renderer.predictions, measured.sources
    for name, of_sources in predictions.sweeps.items():
        if len({len(steps) for steps in of_sources.values()}) != 1:
            raise IcfaceError(f"{predictions.folder}: {name} has more pictures for one source than for another")
    stepped = set(measured.pairs["group"][measured.pairs["kind"] == "self"].tolist())
    result = []
    rows = zip(*(sources[name] for name in ("group", "person", "source_key", "source:embedding")), strict=True)
    for group, person, key, embedding in rows:
        own = {name: sorted(of[key]) for name, of in predictions.sweeps.items() if key in of}
        if group not in stepped or not own:
            continue
        swept, embedded = [], looked_at(list(own), key, measurer)
        for name, steps in own.items():
            told = [name in embedded and number == len(steps) for number in range(1, len(steps) + 1)]
            found = measurer(renderer.read(file for _, file in steps), told)
            swept.append(
                Sweep(
                    name=name,
                    asked=np.array([[value for value, _ in steps]], np.float32),
                    found={analyzer: labels[None] for analyzer, labels in found.labels.items()},
                    apart=np.linalg.norm(found.embeddings - embedding, axis=1)[None],
                    people=(person,),
                )
            )
        result.append(SourceSweep(group=group, swept=swept))
    return result
