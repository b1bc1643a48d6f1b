"""Scoring a folder of predictions on the data set that they were made of."""

from collections.abc import Collection
from pathlib import Path

from icface.evaluation.measuring import Measurements
from icface.evaluation.pictures import measure_pictures
from icface.evaluation.predictions import Predictions
from icface.evaluation.report import Report
from orchestration.registry.evaluation import OnPairs
from orchestration.registry.measurer import MeasurerChoice
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import GROUPS, EvaluationPairs


def evaluate_predictions(
    folder: str,
    dataset: str,
    measuring: MeasurerChoice | None = None,
    groups: Collection[str] = GROUPS,
    progress: OnPairs | None = None,
) -> tuple[Report, Measurements]:
    """Score the pictures in `folder` on the pairs of DATASET that they were made of; second, what was measured.

    `measuring` and `progress` as in `orchestration.registry.evaluation.evaluated`. Raises IcfaceError when the folder
    is not as `Predictions` describes, or is of another data set or other pairs.
    """
    predictions = Predictions.read(Path(folder))
    data = Dataset.open(dataset)
    per_track, tracks = predictions.per_track, predictions.tracks
    pairs = EvaluationPairs(data, per_track=per_track, tracks=tracks)
    predictions.check(data.hash, pairs.hash)
    if tuple(groups) != GROUPS:
        pairs = EvaluationPairs(data, groups=groups, per_track=per_track, tracks=tracks)
    with (measuring or MeasurerChoice()).for_data(data).opened() as measurer:
        return measure_pictures(predictions, pairs, measurer, data.schema, progress)
