"""Which model of a training is kept, and when a training that gets no better is over."""

from pathlib import Path

import pytest

from icface.errors import IcfaceError
from icface.evaluation.report import METRICS
from orchestration.config import TrainJob
from orchestration.registry.gate import direction
from orchestration.selection import SELECTABLE, Selection
from orchestration.train.validation_record import FILE, Evaluation, ValidationRecord
from pipelines.storage import Folder

FACE = Selection("face_l1")


def recorded(*scores: float | None, selection: Selection | None = FACE) -> ValidationRecord:
    """Evaluations after 10, 20, ... steps."""
    record = ValidationRecord(conditions="same", pairs=("a", "b"))
    for number, score in enumerate(scores, 1):
        found = {} if score is None else {(selection or FACE).metric: score}
        record = record.plus(Evaluation(step=10 * number, scores=found), selection)
    return record


def test_the_way_that_a_metric_is_better_is_that_of_the_gate():
    assert SELECTABLE.keys() <= METRICS.keys()
    assert {name: direction(name) for name in SELECTABLE} == SELECTABLE


@pytest.mark.parametrize(
    ("metric", "scores", "kept"),
    [
        ("face_l1", (0.3, 0.1, 0.2), 20),
        ("unit_r", (0.3, 0.1, 0.4, None), 30),
        ("sharpness", (0.5, 1.2, 0.7, 2.0), 20),
        ("face_l1", (0.2, 0.2), 10),
        ("face_l1", (float("nan"), 0.9), 20),
        ("face_l1", (None, None), None),
    ],
)
def test_the_best_is_kept_and_of_equals_the_first(metric: str, scores: tuple[float | None, ...], kept: int | None):
    assert recorded(*scores, selection=Selection(metric)).kept == kept


def test_without_a_choice_nothing_is_kept_and_nothing_ends():
    record = recorded(0.3, 0.2, selection=None)
    assert (record.kept, record.last) == (None, 20)
    assert not record.is_over(None, 1)


def test_a_training_is_over_after_so_many_that_were_not_better():
    assert not recorded(0.3, 0.1, 0.2).is_over(FACE, 2)
    assert recorded(0.3, 0.1, 0.2, 0.1).is_over(FACE, 2)
    assert not recorded(0.3, 0.1, 0.2, 0.1, 0.05).is_over(FACE, 2), "it is better again"
    assert not recorded(0.3, 0.1, 0.2, 0.1).is_over(FACE, None)
    assert not recorded(0.1, None, None).is_over(FACE, 2), "what cannot be measured says nothing"


def test_the_record_is_read_as_it_was_written(tmp_path: Path):
    folder = Folder.at(str(tmp_path))
    assert ValidationRecord.read(folder) == ValidationRecord()
    record = recorded(0.3, 0.1)
    record.write(folder)
    assert ValidationRecord.read(folder) == record
    (tmp_path / FILE).write_text("{")
    with pytest.raises(IcfaceError, match=r"validation\.json is damaged"):
        ValidationRecord.read(folder)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"evaluate_every": 5, "keep": "best:beauty"}, r"--keep best:beauty: write best:METRIC, with one of face_l1, "),
        ({"evaluate_every": 5, "keep": "face_l1"}, "write best:METRIC"),
        ({"keep": "best:face_l1"}, "--keep needs --evaluate-every"),
        ({"evaluate_every": 5, "patience": 2}, "needs --keep"),
        ({"evaluate_every": 5, "keep": "best:face_l1", "patience": 0}, "--patience must be at least 1"),
        ({"evaluate_every": -1}, "--evaluate-every must be at least 1"),
    ],
)
def test_wrong_use_is_refused_before_anything_starts(options: dict[str, object], told: str):
    with pytest.raises(ValueError, match=told):
        TrainJob(dataset="data", **options)
