"""`icface evaluate --benchmark synthetic`: a model, or pictures made by any method, against exact truth."""

from collections.abc import Callable

from icface.bundle import load_bundle
from icface.evaluation.benchmark import BenchmarkScores
from icface.evaluation.reenact import Conditions, make_report, measure_all
from icface.evaluation.rendering import ModelRenderer
from icface.evaluation.report import Report
from orchestration.predictions import evaluate_predictions
from orchestration.registry.measurer import MeasurerChoice
from orchestration.registry.references import resolve
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs
from pipelines.preprocess.progress import OnProgress
from pipelines.synthesis import benchmark

GROUP = "val"


def benchmark_model(
    model: str,
    folder: str,
    measuring: MeasurerChoice,
    progress: Callable[[int, int], None] | None = None,
    on_rendering: OnProgress = lambda progress: None,
) -> tuple[BenchmarkScores, Report]:
    """Score MODEL on the benchmark in `folder`, which is rendered at the model's size where it is not there.

    The result is not kept with the model: a version's evaluation is of real people. Raises IcfaceError when there is
    no such model, or the folder holds something else.
    """
    bundle = load_bundle(resolve(model).folder)
    benchmark.prepare(folder, bundle.size, on_rendering)
    data = Dataset.open(folder)
    pairs = EvaluationPairs(data, groups=(GROUP,))
    renderer = ModelRenderer(bundle, measuring.device)
    with measuring.for_data(data).opened() as measurer:
        measured, _ = measure_all(renderer, pairs, measurer, progress=progress)
        return benchmark.scores(measured.pairs), make_report(Conditions.of(renderer, pairs, measurer), measured)


def benchmark_predictions(
    predictions: str,
    folder: str,
    measuring: MeasurerChoice,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[BenchmarkScores, Report]:
    """Score a folder of pictures that were made of the benchmark in `folder`. Raises IcfaceError."""
    benchmark.check(Dataset.open(folder))
    report, measured = evaluate_predictions(predictions, folder, measuring, (GROUP,), progress)
    return benchmark.scores(measured.pairs), report
