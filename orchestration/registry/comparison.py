"""Models side by side: their scores on the same pairs, the same faces by each, and how their making differs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from icface.bundle import ICface, load_bundle
from icface.errors import IcfaceError
from icface.evaluation import HIGHER_IS_BETTER
from icface.evaluation.rendering import render_pairs
from icface.evaluation.report import BEST_AT_ONE, HEADLINE, Report, base
from icface.sheets import Picture, Row, contact_sheet
from icface.training.config import current_names
from orchestration.registry import versions as registry
from orchestration.registry.evaluation import PairChoice, evaluate_alike
from orchestration.registry.references import ModelReference, resolve
from orchestration.tracking.run_logger import flat
from pipelines.dataset import Dataset
from pipelines.html_report import image, table, write_page
from pipelines.loading.evaluation_pairs import EvaluationPairs

SHOWN = 8
"""Pairs that are shown."""
CELL = 128


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One of the models that are compared."""

    label: str
    """As it was asked for."""
    model: ICface
    report: Report


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found."""

    compared_models: tuple[ComparedModel, ...]
    evaluated: bool
    """Whether the models were evaluated for it; otherwise their stored evaluations were comparable."""
    samples: Picture | None
    """The same pairs rendered by each; None without a data set."""

    def metrics(self) -> list[tuple[str, ...]]:
        """Rows of text: metric, which way is better, each model, then each later model's difference to the first."""
        first, *others = self.compared_models
        reports = [compared.report.metrics() for compared in self.compared_models]
        heading = ["metric", "better", *(compared.label for compared in self.compared_models)]
        rows = [(*heading, *(f"{other.label} – {first.label}" for other in others))]
        for name in reports[0]:
            metric = name.split("/", 1)[1]
            if metric not in HEADLINE or not all(name in report for report in reports):
                continue
            values = [report[name] for report in reports]
            differences = [f"{value - values[0]:+.4f} {verdict(metric, values[0], value)}" for value in values[1:]]
            rows.append((name, direction(metric), *(f"{value:.4f}" for value in values), *differences))
        return rows

    def configs(self) -> list[tuple[str, ...]]:
        """Rows of text: what differs in architecture, training, data and licence; the first row is the heading."""
        making = [_texts(_making(compared.model)) for compared in self.compared_models]
        names = sorted({name for each in making for name in each})
        rows = [("option", *(compared.label for compared in self.compared_models))]
        for name in names:
            values = [str(each.get(name, "–")) for each in making]
            if len(set(values)) > 1:
                rows.append((name, *values))
        return rows

    def write(self, path: str | Path) -> None:
        """Everything as one self-contained HTML page."""
        source = "evaluated now" if self.evaluated else "stored with the models"
        sections = [f"<p>Scores: {source}, on the same pairs.</p><h2>Metrics</h2>{table(self.metrics())}"]
        if self.samples is not None:
            sections.append(
                "<h2>The same faces by each</h2>" + image(self.samples, "the same pairs made by each model")
            )
        sections.append(f"<h2>What differs in their making</h2>{table(self.configs())}")
        write_page(path, " against ".join(compared.label for compared in self.compared_models), sections)


def direction(metric: str) -> str:
    """Which way `metric` is better.

    >>> direction("face_l1"), direction("r.AU12"), direction("sharpness")
    ('lower', 'higher', 'nearer to 1')
    """
    name = base(metric)
    return "higher" if name in HIGHER_IS_BETTER else "nearer to 1" if name in BEST_AT_ONE else "lower"


def verdict(metric: str, first: float, other: float) -> str:
    """`better`, `worse` or `equal`: the other value beside the first.

    >>> verdict("face_l1", 0.2, 0.1), verdict("sharpness", 0.9, 1.3), verdict("ssim", 0.5, 0.5)
    ('better', 'worse', 'equal')
    """
    if first == other:
        return "equal"
    way = direction(metric)
    if way == "nearer to 1":
        return "better" if abs(other - 1) < abs(first - 1) else "worse"
    return "better" if (other > first) == (way == "higher") else "worse"


def compare(
    models: Sequence[str],
    dataset: str | None = None,
    per_track: int = 50,
    tracks: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Compare at least two models (`orchestration.registry.references`) on `dataset`.

    Stored evaluations are used when all are of the same pairs (those of `dataset`, if it is given), analyzer and
    protocol; otherwise all models are evaluated again, without `dataset` on the pairs of the first that has an
    evaluation, and registered versions keep the result. `progress` is told the model, the pairs done and their
    number.

    Raises IcfaceError for fewer than two models, an unknown one, or evaluations that cannot be compared when there
    is no data set to make new ones on.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise IcfaceError("compare wants two or more different models")
    references = [resolve(model) for model in models]
    bundles = [load_bundle(reference.folder) for reference in references]
    known = [_stored(reference) for reference in references]
    choice = PairChoice(dataset=dataset, per_track=per_track, tracks=tracks) if dataset else _choice(references)
    reports = [report for report in known if report is not None]
    comparable = len(reports) == len(models) and len({registry.conditions(report) for report in reports}) == 1
    evaluated = not comparable or (
        dataset is not None and choice is not None and _hash(choice) != reports[0].pairs_hash
    )
    if evaluated:
        if choice is None:
            raise IcfaceError(
                "these models have no evaluations that can be compared (same pairs, analyzer and protocol): name the "
                "data set to evaluate them on with --dataset"
            )
        alike = dict(zip(models, zip(references, bundles, strict=True), strict=True))
        reports = evaluate_alike(alike, choice, progress)
    compared_models = tuple(
        ComparedModel(label=label, model=model, report=report)
        for label, model, report in zip(models, bundles, reports, strict=True)
    )
    samples = None
    if choice is not None:
        try:
            samples = _samples(compared_models, Dataset.open(choice.dataset))
        except IcfaceError:
            if dataset is not None:
                raise  # one that was only remembered may be gone: the scores still stand
    return Comparison(compared_models=compared_models, evaluated=evaluated, samples=samples)


def _choice(references: Sequence[ModelReference]) -> PairChoice | None:
    """The pairs of the first of the models whose evaluation says how they are made."""
    for reference in references:
        if reference.name is not None:
            evaluation = next(
                item.evaluation for item in registry.versions(reference.name) if item.number == reference.version
            )
            choice = PairChoice.kept((evaluation or {}).get("pairs"))
            if choice is not None:
                return choice
    return None


def _hash(choice: PairChoice) -> str:
    _, pairs = choice.open()
    return pairs.hash


def _stored(reference: ModelReference) -> Report | None:
    """The last evaluation of a registered version."""
    if not reference.run_id or not reference.name:
        return None
    try:
        values = mlflow.artifacts.load_dict(f"runs:/{reference.run_id}/evaluation.json")
    except MlflowException:
        return None
    return Report.from_json(values)


def _samples(compared_models: Sequence[ComparedModel], data: Dataset) -> Picture:
    pairs = list(EvaluationPairs(data, per_track=1, tracks=SHOWN))
    step = max(1, len(pairs) // SHOWN)
    shown = pairs[::step][:SHOWN]
    made = zip(*(render_pairs(compared.model, shown) for compared in compared_models), strict=True)
    rows = []
    for pair, outputs in zip(shown, made, strict=True):
        pictures = [pair.source, pair.driving, *outputs]
        captions = ["source", "driving", *(compared.label for compared in compared_models)]
        rows.append(Row(heading=f"{pair.group}: {pair.track}", pictures=pictures, captions=captions))
    return contact_sheet(rows, cell=CELL)


def _making(model: ICface) -> dict[str, Any]:
    values = model.config.to_json()
    if config := values["training"].get("config"):
        # Models of version 0.1 have other names for some options.
        values["training"] = values["training"] | {"config": current_names(config)[0]}
    return {name: values[name] for name in ("model", "crop_rule", "analyzer", "licence", "training")}


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Nested dicts as one of texts, names joined by dots."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in flat(values).items()
    }
