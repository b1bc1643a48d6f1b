"""Evaluating a model on a data set, and keeping the result with it."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from icface.bundle import ICface, load_bundle
from icface.errors import IcfaceError
from icface.evaluation.faces import Measurer
from icface.evaluation.motion import measure_motion
from icface.evaluation.reenact import Conditions, make_report, measure_all
from icface.evaluation.rendering import ModelRenderer
from icface.evaluation.report import Report
from orchestration.registry import evaluation_store as store
from orchestration.registry import runs
from orchestration.registry.cases import Sheet, sheets
from orchestration.registry.distributed_evaluation import measure_on_ray
from orchestration.registry.gate import Kept
from orchestration.registry.measurer import MeasurerChoice
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

    def open(self, sides: bool = False) -> tuple[Dataset, EvaluationPairs]:
        """The data set and the pairs, with labels of left and right where a model has `sides`.

        Raises IcfaceError when there is no such data set, or it has no such pairs.
        """
        data = Dataset.open(self.dataset)
        pairs = EvaluationPairs(data, groups=self.groups, per_track=self.per_track, tracks=self.tracks, sides=sides)
        return data, pairs


@dataclass(frozen=True, kw_only=True)
class Evaluated(Kept):
    """An evaluation with what it was made with."""

    renderer: ModelRenderer
    pairs: EvaluationPairs

    def sheets(self) -> list[Sheet]:
        """Some pairs of each group, its worst and its best ones, rendered again."""
        return sheets(self.renderer, self.pairs, self.measured)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Processes that measure."""

    measuring: MeasurerChoice
    address: str
    workers: int | None


def evaluate_model(model: str, dataset: str, **options: Any) -> Report:
    """The report of `evaluated`, which says what the options are."""
    return evaluated(model, dataset, **options).report


def evaluated(
    model: str,
    dataset: str,
    *,
    groups: Collection[str] = GROUPS,
    per_track: int = 50,
    tracks: int | None = None,
    progress: OnPairs | None = None,
    measuring: MeasurerChoice | None = None,
    stepped: int = 0,
    address: str | None = None,
    workers: int | None = None,
) -> Evaluated:
    """Score MODEL on DATASET; a model of the registry keeps the result with its run and version.

    `measuring`: who measures, by default the analyzer that labelled the data set alone. `stepped`: see
    `icface.evaluation.evaluate`. With an `address` (`local`, `auto`, HOST) or `workers`, so many processes measure, by
    Ray; otherwise this one does. Raises IcfaceError when there is no such model or data set, or the data set has no
    pairs of these `groups`. So it does when an analyzer or dlib is missing.
    """
    reference = resolve(model)
    bundle = load_bundle(reference.folder)
    choice = PairChoice(dataset=dataset, groups=tuple(groups), per_track=per_track, tracks=tracks)
    sides = bundle.schema.sided
    data, pairs = choice.open(sides)
    measuring = (measuring or MeasurerChoice()).for_data(data, sides)
    many = address is not None or workers is not None
    with measuring.opened() as measurer:
        return evaluate_and_keep(
            reference,
            ModelRenderer(bundle, measuring.device),
            choice,
            pairs,
            measurer,
            progress=progress,
            stepped=stepped,
            pictures=True,
            spread=Spread(measuring=measuring, address=address or "local", workers=workers) if many else None,
        )


def evaluate_alike(
    models: Mapping[str, tuple[ModelReference, ICface]],
    choice: PairChoice,
    progress: Callable[[str, int, int], None] | None = None,
    device: str = "cpu",
) -> list[Evaluated]:
    """Score several models on the same pairs, by their labels; those of the registry without a stored one keep it.

    `progress` is told the label, the pairs done and their number. `device`: torch's name of where networks run; on a
    GPU MediaPipe's run there too. Raises IcfaceError as `evaluate_model`.
    """
    sides = any(bundle.schema.sided for _, bundle in models.values())
    data, pairs = choice.open(sides)
    found = []
    with MeasurerChoice(device=device).for_data(data, sides).opened() as measurer:
        for label, (reference, bundle) in models.items():
            told = None if progress is None else lambda done, total, label=label: progress(label, done, total)
            found.append(
                evaluate_and_keep(
                    reference, ModelRenderer(bundle, device), choice, pairs, measurer, progress=told, overwrite=False
                )
            )
    if len({store.conditions(each.report) for each in found}) != 1:
        raise IcfaceError("the evaluations differ in pairs or protocol although they were made together; report this")
    return found


def evaluate_and_keep(
    reference: ModelReference,
    renderer: ModelRenderer,
    choice: PairChoice,
    pairs: EvaluationPairs,
    measurer: Measurer,
    *,
    progress: OnPairs | None = None,
    stepped: int = 0,
    overwrite: bool = True,
    pictures: bool = False,
    spread: Spread | None = None,
) -> Evaluated:
    """Score a model that is loaded on pairs that are open; one of the registry keeps the result.

    Without `overwrite` an evaluation that is stored already stays. With `pictures` the run keeps the worst and the best
    pairs as pictures, and the page. Raises IcfaceError before the work when its run was
    deleted. When the result cannot be recorded it is written to the working directory, and the error names the file.
    """
    if reference.run_id:
        runs.check_kept(reference.run_id, reference.pinned)
    if spread is None:
        measured, motions = measure_all(renderer, pairs, measurer, stepped=stepped, progress=progress)
    else:
        measured = measure_on_ray(
            renderer.model,
            pairs,
            spread.measuring,
            stepped=stepped,
            address=spread.address,
            workers=spread.workers,
            progress=progress,
        )
        motions = measure_motion(renderer, pairs.sequences(), measurer)
    report = make_report(Conditions.of(renderer, pairs, measurer), measured, motions)
    found = Evaluated(report=report, measured=measured, renderer=renderer, pairs=pairs)
    if overwrite or not reference.run_id or store.stored_evaluation(reference.run_id) is None:
        keep(reference, choice, found, found.sheets() if pictures and reference.run_id else ())
    return found


def keep(reference: ModelReference, choice: PairChoice, found: Kept, shown: Sequence[Sheet] = ()) -> None:
    """Store an evaluation with the model's run and version. Raises IcfaceError as `evaluate_and_keep` does."""
    report = found.report
    kept = asdict(replace(choice, dataset=Folder.at(choice.dataset).absolute))
    try:
        if reference.run_id:
            store.log_report(reference.run_id, report, found.measured)
            store.note_pairs(reference.run_id, kept)
            if shown:
                store.log_pictures(reference.run_id, reference.pinned, report, shown)
        if reference.name and reference.version:
            store.note_evaluation(reference.name, reference.version, report, kept)
    except (MlflowException, OSError) as error:
        path = Path(f"evaluation-{reference.run_id}.json").absolute()
        path.write_text(json.dumps(report.to_json(), indent=2) + "\n")
        line = f"the evaluation is made but could not be recorded ({reason(error)}); it is in {path}"
        raise IcfaceError(line) from None
