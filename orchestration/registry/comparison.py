"""Models side by side: their scores on the same pairs, the same faces by each, and how their making differs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icface.arrays import Picture
from icface.bundle import ICface, load_bundle
from icface.errors import IcfaceError
from icface.evaluation.rendering import render_pairs
from icface.evaluation.report import HEADLINE, Report, arrow, number
from icface.metrics.people import Difference
from icface.sheets import Row, contact_sheet
from icface.training.config import current_names
from orchestration.registry import evaluation_store as store
from orchestration.registry import versions as registry
from orchestration.registry.evaluation import PairChoice, evaluate_alike
from orchestration.registry.gate import Kept, differences, direction, people_in_words, verdict
from orchestration.registry.references import ModelReference, resolve
from orchestration.tracking import pages
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
    reference: ModelReference
    model: ICface
    kept: Kept

    @property
    def report(self) -> Report:
        """The evaluation's scores."""
        return self.kept.report


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found."""

    compared_models: tuple[ComparedModel, ...]
    evaluated: bool
    """Whether the models were evaluated for it; otherwise their stored evaluations were comparable."""
    left_as_they_were: tuple[str, ...] = ()
    """Models whose stored evaluation, of other pairs, was not replaced."""
    samples: Picture | None
    """The same pairs rendered by each; None without a data set."""

    def metrics(self) -> list[tuple[str, ...]]:
        """Rows of text: metric, which way is better, each model, copying the source, then each difference to the first.

        A difference stands with its 95 % interval over people, of the same pairs, and with `better`, `worse` or
        `same` (the interval holds 0). Scores whose sums are not kept have no interval.
        """
        first, *others = self.compared_models
        heading = ["metric", "best", *(compared.label for compared in self.compared_models), "copying the source"]
        rows = [(*heading, *(f"{other.label} – {first.label}" for other in others))]
        apart = [differences(first.kept, other.kept) for other in others]
        for group, report in first.report.groups.items():
            for metric in report.scores["model"]:
                values = [c.report.groups[group].scores["model"].get(metric) for c in self.compared_models]
                if metric not in HEADLINE or any(value is None for value in values):
                    continue
                told = [
                    _told(metric, values[0], value, found.get(f"{group}/{metric}"))
                    for value, found in zip(values[1:], apart, strict=True)
                ]
                copied = report.scores.get("copy_source", {}).get(metric)
                name = f"{group}/{first.report.shown(metric)}"
                rows.append((name, arrow(metric), *map(number, values), number(copied), *told))
        return rows

    def counts(self) -> str:
        """How many pairs and people each group has."""
        groups = self.compared_models[0].report.groups.items()
        return "; ".join(f"{name}: {group.pairs} pairs of {people_in_words(group.people)}" for name, group in groups)

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

    def origin(self) -> str:
        """Where the scores come from, and what became of stored ones."""
        if not self.evaluated:
            return "The scores are those stored with the models, on the same pairs."
        kept = " and ".join(self.left_as_they_were)
        stored = f" The stored evaluation of {kept} is left as it was." if kept else ""
        return f"All models were evaluated now, on the same pairs.{stored}"

    def mlflow_page(self) -> str | None:
        """MLflow's own page with the same scores side by side: of versions if all are of one registered model, else of
        runs. None where MLflow has not these scores of every model.
        """
        run_ids = [compared.reference.run_id for compared in self.compared_models]
        for run_id, compared in zip(run_ids, self.compared_models, strict=True):
            stored = store.stored_evaluation(run_id) if run_id else None
            if stored is None or stored.metrics() != compared.report.metrics():
                return None
        versions = {(c.reference.name, c.reference.version): str(c.reference.run_id) for c in self.compared_models}
        (name, _), *others = versions
        if name is None or any(other != name for other, _ in others):
            return pages.comparison_page([str(run_id) for run_id in run_ids])
        return pages.versions_comparison_page(name, {int(number or 0): run for (_, number), run in versions.items()})

    def write(self, path: str | Path) -> None:
        """Everything as one self-contained HTML page."""
        sections = [f"<p>{self.origin()} {self.counts()}.</p><h2>Metrics</h2>{table(self.metrics())}"]
        if self.samples is not None:
            sections.append(
                "<h2>The same faces by each</h2>" + image(self.samples, "the same pairs made by each model")
            )
        sections.append(f"<h2>What differs in their making</h2>{table(self.configs())}")
        write_page(path, " against ".join(compared.label for compared in self.compared_models), sections)


def _told(metric: str, first: float | None, other: float | None, found: Difference | None) -> str:
    """A difference in words."""
    if first is None or other is None:
        return "–"
    found = found or Difference(value=other - first, interval=None, people=0)
    if found.interval is None:
        return f"{number(found.value)} {verdict(found, first, direction(metric))}, no interval"
    low, high = map(number, found.interval)
    return f"{number(found.value)} ({low} … {high}) {verdict(found, first, direction(metric))}"


def compare(
    models: Sequence[str],
    dataset: str | None = None,
    per_track: int = 50,
    tracks: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    device: str = "cpu",
) -> Comparison:
    """Compare at least two models (`orchestration.registry.references`) on `dataset`.

    Stored evaluations are used when all have the same pairs (those of `dataset`, if given), analyzer and protocol.
    Otherwise all models are evaluated again, and registered versions keep the result. Without `dataset` that happens on
    the pairs of the first model that has an evaluation. `progress` is told the model, the pairs done and their number.
    `device`: torch's name of where new evaluations run.

    Raises IcfaceError for fewer than two models or an unknown one. So it does for evaluations that cannot be compared
    when there is no data set to make new ones on.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise IcfaceError("compare wants two or more different models")
    references = [resolve(model) for model in models]
    bundles = [load_bundle(reference.folder) for reference in references]
    known = [_stored(reference) for reference in references]
    choice = PairChoice(dataset=dataset, per_track=per_track, tracks=tracks) if dataset else _choice(references)
    kept: list[Kept] = [each for each in known if each is not None]
    comparable = len(kept) == len(models) and len({store.conditions(each.report) for each in kept}) == 1
    evaluated = not comparable or (
        dataset is not None and choice is not None and _hash(choice) != kept[0].report.pairs_hash
    )
    left = tuple(
        model for model, reference in zip(models, references, strict=True) if evaluated and _has_one(reference)
    )
    if evaluated:
        if choice is None:
            raise IcfaceError(
                "these models have no evaluations that can be compared (same pairs, analyzer and protocol): name the "
                "data set to evaluate them on with --dataset"
            )
        alike = dict(zip(models, zip(references, bundles, strict=True), strict=True))
        kept = list(evaluate_alike(alike, choice, progress, device))
    compared_models = tuple(
        ComparedModel(label=label, reference=reference, model=model, kept=each)
        for label, reference, model, each in zip(models, references, bundles, kept, strict=True)
    )
    samples = None
    if choice is not None:
        try:
            samples = _samples(compared_models, Dataset.open(choice.dataset))
        except IcfaceError:
            if dataset is not None:
                raise  # one that was only remembered may be gone: the scores still stand
    return Comparison(compared_models=compared_models, evaluated=evaluated, left_as_they_were=left, samples=samples)


def _choice(references: Sequence[ModelReference]) -> PairChoice | None:
    """The pairs of the first of the models whose evaluation says how they are made."""
    for reference in references:
        choice = None
        if reference.name is not None:
            choice = PairChoice.kept((_evaluation(reference) or {}).get("pairs"))
        elif reference.run_id:
            choice = PairChoice.kept(store.stored_pairs(reference.run_id))
        if choice is not None:
            return choice
    return None


def _hash(choice: PairChoice) -> str:
    _, pairs = choice.open()
    return pairs.hash


def _evaluation(reference: ModelReference) -> dict[str, Any] | None:
    """What the registered version keeps of its last evaluation."""
    found = registry.versions(reference.name)
    return next(item.evaluation for item in found if item.number == reference.version)


def _has_one(reference: ModelReference) -> bool:
    if reference.name is not None:
        return _evaluation(reference) is not None
    return bool(reference.run_id) and store.stored_evaluation(str(reference.run_id)) is not None


def _stored(reference: ModelReference) -> Kept | None:
    """The last evaluation of a version, or of a run that is not registered, with its pairs."""
    if not reference.run_id:
        return None
    report, measured = store.stored_evaluation(reference.run_id), store.stored_measurements(reference.run_id)
    if report is None or measured is None:
        return None
    if reference.name is not None and not store.is_of(report, _evaluation(reference)):
        return None
    return Kept(report=report, measured=measured)


def _samples(compared_models: Sequence[ComparedModel], data: Dataset) -> Picture:
    sides = any(compared.model.schema.sided for compared in compared_models)
    pairs = list(EvaluationPairs(data, per_track=1, tracks=SHOWN, sides=sides))
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
