"""Evaluating a model on a data set, and keeping the result with it."""

from collections.abc import Callable, Collection

from icface import analyzers
from icface.animate import DEFAULT_ANALYZER, READS_FILES
from icface.bundle import load_bundle
from icface.evaluation.reenact import evaluate
from icface.evaluation.report import Report
from orchestration import registry
from orchestration.references import resolve
from pipelines.dataset import Dataset
from pipelines.evaluation_pairs import GROUPS, EvaluationPairs


def evaluate_model(
    model: str,
    dataset: str,
    *,
    groups: Collection[str] = GROUPS,
    per_track: int = 50,
    tracks: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score MODEL on DATASET; a model of the registry keeps the result with its run and version.

    Raises IcfaceError when there is no such model or data set, or the data set has no pairs of these `groups`.
    """
    reference = resolve(model)
    bundle = load_bundle(reference.folder)
    data = Dataset.open(dataset)
    name = data.analyzer["name"]
    analyzer = analyzers.create(DEFAULT_ANALYZER if name in READS_FILES else name)
    try:
        pairs = EvaluationPairs(data, groups=groups, per_track=per_track, tracks=tracks)
        report = evaluate(bundle, pairs, analyzer, device=device, progress=progress)
    finally:
        analyzer.close()
    if reference.run_id:
        registry.log_report(reference.run_id, report)
    if reference.name and reference.version:
        registry.note_evaluation(reference.name, reference.version, report)
    return report
