"""Evaluating a model on a data set, and keeping the result with it."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from icface import analyzers
from icface.analyzers.face import Analyzer
from icface.bundle import ICface, load_bundle
from icface.errors import IcfaceError
from icface.evaluation.reenact import evaluate
from icface.evaluation.report import Report
from icface.identity import FaceEmbedder
from orchestration.registry import versions as registry
from orchestration.registry.references import ModelReference, resolve
from orchestration.tracking.run_logger import reason
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import GROUPS, EvaluationPairs
from pipelines.storage import Folder

OnPairs = Callable[[int, int], None]
"""Told the pairs done and their number."""


@dataclass(frozen=True, kw_only=True)
class PairChoice:
    """Which pairs are evaluated. A version keeps it with its evaluation, so that the same can be asked of another."""

    dataset: str
    """Path or URL."""
    groups: tuple[str, ...] = GROUPS
    per_track: int = 50
    tracks: int | None = None

    @classmethod
    def kept(cls, values: Mapping[str, Any] | None) -> "PairChoice | None":
        """What `asdict` made of one, out of a version's evaluation; None where none was kept."""
        try:
            return cls(**{**values, "groups": tuple(values["groups"])}) if values else None
        except (KeyError, TypeError):
            return None

    def open(self) -> tuple[Dataset, EvaluationPairs]:
        """Raises IcfaceError when there is no such data set, or it has no such pairs."""
        data = Dataset.open(self.dataset)
        return data, EvaluationPairs(data, groups=self.groups, per_track=self.per_track, tracks=self.tracks)


def evaluate_model(
    model: str,
    dataset: str,
    *,
    groups: Collection[str] = GROUPS,
    per_track: int = 50,
    tracks: int | None = None,
    device: str = "cpu",
    identity: bool = False,
    progress: OnPairs | None = None,
    analyzer: str | None = None,
    second: str | None = None,
    stepped: int = 0,
) -> Report:
    """Score MODEL on DATASET; a model of the registry keeps the result with its run and version.

    `identity` compares faces by dlib's network too. `analyzer` measures instead of the one that labelled the data
    set, or that measures the same on a GPU; `second` measures beside it, unless they are the same; `stepped`: see
    `icface.evaluation.evaluate`. Raises IcfaceError when there is no such model or data set, the data set has no pairs
    of these `groups`, or an analyzer or dlib is missing.
    """
    embedder = FaceEmbedder() if identity else None
    reference = resolve(model)
    bundle = load_bundle(reference.folder)
    choice = PairChoice(dataset=dataset, groups=tuple(groups), per_track=per_track, tracks=tracks)
    data, pairs = choice.open()
    first = _named(analyzer, device) if analyzer else analyzer_for(data, device)
    other = None
    try:
        other = analyzers.create(second) if second and second != first.name else None
        return evaluate_and_keep(
            reference,
            bundle,
            choice,
            pairs,
            first,
            device=device,
            progress=progress,
            embedder=embedder,
            second=other,
            stepped=stepped,
        )
    finally:
        first.close()
        if other is not None:
            other.close()


def evaluate_alike(
    models: Mapping[str, tuple[ModelReference, ICface]],
    choice: PairChoice,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Report]:
    """Score several models on the same pairs, by their labels; each of the registry keeps its result.

    `progress` is told the label, the pairs done and their number. Raises as `evaluate_model`.
    """
    data, pairs = choice.open()
    analyzer = analyzer_for(data)
    reports = []
    try:
        for label, (reference, bundle) in models.items():
            told = None if progress is None else lambda done, total, label=label: progress(label, done, total)
            reports.append(evaluate_and_keep(reference, bundle, choice, pairs, analyzer, progress=told))
    finally:
        analyzer.close()
    if len({registry.conditions(report) for report in reports}) != 1:
        raise IcfaceError("the evaluations differ in pairs or protocol although they were made together; report this")
    return reports


def evaluate_and_keep(
    reference: ModelReference,
    bundle: ICface,
    choice: PairChoice,
    pairs: EvaluationPairs,
    analyzer: Analyzer,
    *,
    device: str = "cpu",
    progress: OnPairs | None = None,
    embedder: FaceEmbedder | None = None,
    second: Analyzer | None = None,
    stepped: int = 0,
) -> Report:
    """Score a model that is loaded on pairs that are open; one of the registry keeps the result.

    Raises IcfaceError before the work when its run was deleted. When the result cannot be recorded it is written to
    the working directory, and the error names the file.
    """
    if reference.run_id:
        registry.check_kept(reference.run_id, reference.pinned)
    report = evaluate(
        bundle, pairs, analyzer, device=device, progress=progress, embedder=embedder, second=second, stepped=stepped
    )
    try:
        if reference.run_id:
            registry.log_report(reference.run_id, report)
        if reference.name and reference.version:
            kept = asdict(replace(choice, dataset=Folder.at(choice.dataset).absolute))
            registry.note_evaluation(reference.name, reference.version, report, kept)
    except (MlflowException, OSError) as error:
        path = Path(f"evaluation-{reference.run_id}.json").absolute()
        path.write_text(json.dumps(report.to_json(), indent=2) + "\n")
        line = f"the evaluation is made but could not be recorded ({reason(error)}); it is in {path}"
        raise IcfaceError(line) from None
    return report


def _named(analyzer: str, device: str) -> Analyzer:
    on_device = {"device": device} if analyzers.registration(analyzer).uses_gpu else {}
    return analyzers.create(analyzer, **on_device)


def analyzer_for(data: Dataset, device: str = "cpu") -> Analyzer:
    """The analyzer that measures pictures as the data set's were measured; the default where that one reads files.

    Raises IcfaceError when it cannot be made, or is another one here.
    """
    return analyzers.from_record(data.analyzer, device)
