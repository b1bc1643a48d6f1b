"""Evaluating a model: reenact pairs, look at the pixels, and measure the attributes of what came out again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from icface.analyzers.face import Analyzer
from icface.arrays import Labels, Pictures
from icface.attributes import LABEL_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.evaluation.faces import Embedder, Measurer, labels_of, largest_faces
from icface.evaluation.measurements import Measurements
from icface.evaluation.measuring import measure
from icface.evaluation.motion import Motion, measure_motion, motion_scores
from icface.evaluation.pairs import PairList
from icface.evaluation.rendering import ModelRenderer, Renderer
from icface.evaluation.report import PROTOCOL, REFERENCES, GroupReport, Report
from icface.evaluation.scores import GroupScores, IdentityScale, score
from icface.evaluation.sweeps import asked_values, chosen_sources, merged
from icface.metrics.realism import Extractor


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What an evaluation is of, beside what was measured."""

    pairs_hash: str
    schema: AttributeSchema
    size: int
    analyzer: str
    """Name and fingerprint."""
    second: str | None
    same_analyzer: bool | None

    @classmethod
    def of(cls, renderer: Renderer, pairs: PairList, measurer: Measurer) -> "Conditions":
        """Those of a renderer that is measured on pairs."""
        config = renderer.model.config if isinstance(renderer, ModelRenderer) else None
        return cls(
            pairs_hash=pairs.hash,
            schema=renderer.schema,
            size=renderer.size,
            analyzer=_whole_name(measurer.analyzer),
            second=None if measurer.second is None else _whole_name(measurer.second),
            same_analyzer=None if config is None else is_same_analyzer(config, measurer.analyzer.name),
        )


def evaluate(
    model: ICface | Renderer,
    pairs: PairList,
    analyzer: Analyzer,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    embedder: Embedder | None = None,
    embed_every: int = 1,
    features: Extractor | None = None,
    second: Analyzer | None = None,
    stepped: int = 0,
) -> Report:
    """Score `model` on `pairs`; `analyzer` measures the pictures again, and so does `second`, where there is one.

    Everything is compared at the model's size. `progress` is told the pairs done and their number. With an `embedder`
    (`icface.identity.FaceEmbedder`) there is the metric `identity` too, of every `embed_every`-th pair of a source and
    track. With `features` (`icface.metrics.realism.lite0_features`) sets of pictures are compared. `stepped`: single
    attributes are stepped on so many neutral faces of each group of kind `self` (`icface.evaluation.response`).
    `model` may be any `Renderer`: one that is not a model gets the pairs alone. Raises IcfaceError when there are
    no pairs, or the model has an attribute that is none of `ATTRIBUTE_NAMES`.
    """
    renderer = ModelRenderer(model, device) if isinstance(model, torch.nn.Module) else model
    measurer = Measurer(
        analyzer=analyzer,
        second=second,
        embedder=embedder,
        embed_every=embed_every,
        features=features,
        sides=renderer.schema.sided,
    )
    measured, motions = measure_all(renderer, pairs, measurer, stepped=stepped, progress=progress)
    return make_report(Conditions.of(renderer, pairs, measurer), measured, motions)


def measure_all(
    renderer: Renderer,
    pairs: PairList,
    measurer: Measurer,
    *,
    stepped: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Measurements, list[Motion]]:
    """Everything that `evaluate` measures, in this process. Raises IcfaceError as it does."""
    if len(pairs) == 0:
        raise IcfaceError("there is nothing to evaluate: the data set has no pairs of the kind asked for")
    model = isinstance(renderer, ModelRenderer)
    measured = measure(
        renderer,
        pairs,
        measurer,
        stepped=chosen_sources(pairs.sources(), stepped) if model and stepped else (),
        values=asked_values(renderer.schema, pairs.attributes()),
        progress=None if progress is None else lambda done: progress(done, len(pairs)),
    )
    return measured, measure_motion(renderer, pairs.sequences(), measurer) if model else []


def make_report(conditions: Conditions, measured: Measurements, motions: Sequence[Motion] = ()) -> Report:
    """The report of what was measured, with an interval for each of the model's scores."""
    scale = IdentityScale.of(measured)
    groups = {}
    for name in dict.fromkeys(measured.pairs["group"].tolist()):
        ours = measured.group(name)
        films = [motion for motion in motions if motion.group == name]
        groups[name] = _group_report(ours, score_group(ours, conditions.schema, scale, films), films)
    counts = np.zeros(len(conditions.schema), np.int64) if measured.clamped is None else measured.clamped
    return Report(
        protocol=PROTOCOL,
        pairs_hash=conditions.pairs_hash,
        analyzer=conditions.analyzer,
        size=conditions.size,
        groups=groups,
        clamped={name: int(n) for name, n in zip(conditions.schema.names, counts, strict=True) if n},
        second=conditions.second,
        same_analyzer=conditions.same_analyzer,
        identity_scale=None if scale is None else {"impostor": scale.impostor, "genuine": scale.genuine},
    )


def score_group(
    measured: Measurements, schema: AttributeSchema, scale: IdentityScale | None, motions: Sequence[Motion] = ()
) -> GroupScores:
    """The scores of one group, those of its films included."""
    scored = score(measured, schema, scale)
    if motions:
        people = np.searchsorted(scored.people, [motion.person for motion in motions])
        scored.estimates["model"].update(motion_scores(motions, people, len(scored.people)))
    return scored


def is_same_analyzer(config: BundleConfig, name: str) -> bool | None:
    """Whether the analyzer `name` labelled or taught a model's training; None where the model does not say.

    The critic's networks are MediaPipe's, and mediapipe-torch is MediaPipe.
    """
    labelled = config.analyzer.get("name")
    losses = config.training.get("config", {}).get("loss", {})
    family = {str(labelled).removesuffix("-torch")} if labelled else set()
    if losses.get("critic"):
        family.add("mediapipe")
    return name.removesuffix("-torch") in family if family else None


def analyse(analyzer: Analyzer, pictures: Pictures) -> Labels:
    """(N, 20) float32 attributes of the largest face in each of (N, S, S, 3) uint8 RGB; all NaN where there is none."""
    return labels_of(largest_faces(analyzer, pictures))


def _group_report(measured: Measurements, scored: GroupScores, motions: Sequence[Motion]) -> GroupReport:
    scores: dict[str, dict[str, float | None]] = {}
    intervals = {}
    for reference in REFERENCES:
        scores[reference] = {name: found.value() for name, found in scored.estimates[reference].items()}
        scores[reference] |= scored.values.get(reference, {})
    for name, found in scored.estimates["model"].items():
        interval = found.interval()
        if interval is not None:
            intervals[name] = interval
    correlated = {
        name.removeprefix("r."): int(found.sums[:, 0].sum())
        for name, found in scored.estimates["model"].items()
        if name.startswith("r.")
    }
    return GroupReport(
        pairs=len(measured.pairs["key"]),
        sources=len(measured.sources["source_key"]),
        scores=scores,
        correlated=correlated,
        leakage=scored.leakage,
        people=len(scored.people),
        intervals=intervals,
        left_out=scored.left_out,
        keys=measured.pairs["key"].tolist(),
        response=_response_curves(measured),
        curves=[motion.curves for motion in motions],
    )


def _response_curves(measured: Measurements) -> dict[str, Any]:
    """stepped attribute -> what was asked and what each analyzer found of it, a curve for each source."""
    curves: dict[str, Any] = {}
    for sweep in merged(sweep for one in measured.swept for sweep in one.swept):
        own = LABEL_NAMES.index(sweep.name)
        found = {analyzer: _lists(labels[..., own]) for analyzer, labels in sweep.found.items()}
        curves[sweep.name] = {"asked": _lists(sweep.asked), **{f"by {name}": rows for name, rows in found.items()}}
    return curves


def _lists(values: np.ndarray) -> list[list[float | None]]:
    return [[round(float(value), 4) if np.isfinite(value) else None for value in row] for row in values]


def _whole_name(analyzer: Analyzer) -> str:
    return f"{analyzer.name} {analyzer.fingerprint}"
