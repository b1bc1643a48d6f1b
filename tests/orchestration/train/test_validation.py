"""Evaluating models beside a training: one at a time, the newest waits, and no evaluator outlives it."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.process_tree import is_running
from orchestration.registry.evaluation import PairChoice
from orchestration.registry.run_models import LAST, bundle_at, bundle_steps
from orchestration.selection import Selection
from orchestration.train import validation as module
from orchestration.train.evaluator import Found
from orchestration.train.validation import Validation, wait_for_last
from orchestration.train.validation_record import ValidationRecord
from pipelines.storage import Folder

pytestmark = pytest.mark.usefixtures("ray_here")
PATIENCE = 120
"""Seconds before a test gives up; none waits so long."""


class Log:
    """In place of a `RunLogger`."""

    def __init__(self) -> None:
        self.curves: dict[int, Mapping[str, float]] = {}
        self.lost = self.lost_pictures = 0
        self.closed = False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.curves[step] = values

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run's folder, and an evaluator that takes its score from the bundle, and waits while there is a file `hold`.

    Of a bundle with the score `raise` it raises, of one with `die` its process ends.
    """
    hold, process = tmp_path / "hold", tmp_path / "process"

    class Pretended:
        def __init__(self, choice: object) -> None:
            process.write_text(str(os.getpid()))

        def evaluate(self, run: str, bundle: str) -> Found:
            while hold.exists():
                time.sleep(0.02)
            text = (Path(run) / bundle / LAST).read_text()
            if text == "die":
                os._exit(1)
            if text == "raise":
                raise RuntimeError("no face in any picture")
            scores = {"face_l1": float(text)}
            return Found(scores=scores, curves={"validation/val/face_l1": float(text)}, conditions="c", pairs=("p",))

    monkeypatch.setattr(module, "Evaluator", Pretended)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    folder = tmp_path / "run"
    folder.mkdir()

    def offer(step: int, score: object) -> int:
        place = folder / bundle_at(step)
        place.mkdir()
        (place / LAST).write_text(str(score))
        return step

    def make(patience: int | None = None) -> Validation:
        return Validation(
            Folder.at(str(folder)),
            PairChoice(dataset="none"),
            selection=Selection("face_l1"),
            patience=patience,
            cpus=0,
            logger=Log(),  # type: ignore[arg-type]
        )

    return SimpleNamespace(hold=hold, process=process, folder=Folder.at(str(folder)), offer=offer, make=make)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(validation: Validation, candidate: int | None) -> list[str]:
    """Everything that is told until nothing is left to do."""
    told: list[str] = []
    wait_for_last(validation, candidate, told.append)
    return [line for line in told if not line.startswith("waiting for")]


def test_one_is_evaluated_the_newest_waits_and_the_best_is_kept(setting: SimpleNamespace):
    validation = setting.make()
    setting.hold.touch()
    told = [validation.poll(setting.offer(10, 0.5))]
    for step, score in ((20, 0.1), (30, 0.2), (40, 0.9), (50, 0.4)):
        told.append(validation.poll(setting.offer(step, score)))
    assert [line for line in told if line] == [next(line for line in told if line and "take longer" in line)]
    setting.hold.unlink()
    assert finish(validation, 50) == [
        "step 10: face_l1 0.5000, the best so far",
        "step 50: face_l1 0.4000, the best so far",
    ]
    assert validation.logger.curves == {
        10: {"validation/val/face_l1": 0.5},
        50: {"validation/val/face_l1": 0.4},
    }
    assert finish(validation, setting.offer(60, 0.45)) == ["step 60: face_l1 0.4500 (the best is 0.4000 of step 50)"]
    assert bundle_steps(setting.folder) == [50]
    record = ValidationRecord.read(setting.folder)
    assert (record.kept, [each.step for each in record.evaluations]) == (50, [10, 50, 60])
    validation.close()
    assert validation.logger.closed


def test_what_goes_wrong_is_told_once_and_the_next_is_evaluated(setting: SimpleNamespace):
    validation = setting.make()
    wrong = "the evaluation beside the training failed: no face in any picture"
    assert finish(validation, setting.offer(10, "raise")) == [wrong]
    assert finish(validation, setting.offer(20, "raise")) == []
    (line,) = finish(validation, setting.offer(30, "die"))
    assert line.startswith("the evaluation beside the training failed: ")
    assert finish(validation, setting.offer(40, 0.3)) == ["step 40: face_l1 0.3000, the best so far"]
    assert bundle_steps(setting.folder) == [40]
    validation.close()


def test_a_run_that_goes_on_knows_the_best_and_what_was_left(setting: SimpleNamespace):
    validation = setting.make(patience=2)
    finish(validation, setting.offer(10, 0.2))
    setting.hold.touch()
    validation.poll(setting.offer(20, 0.3))
    until(setting.process.exists)
    validation.close()  # in the middle of an evaluation, as at Ctrl-C
    setting.hold.unlink()
    assert bundle_steps(setting.folder) == [10, 20]

    again = setting.make(patience=2)
    assert finish(again, None) == ["step 20: face_l1 0.3000 (the best is 0.2000 of step 10)"]
    assert not again.is_over
    assert finish(again, setting.offer(5, 0.0)) == [], "a step that was passed before"
    assert finish(again, setting.offer(30, 0.2)) == ["step 30: face_l1 0.2000 (the best is 0.2000 of step 10)"]
    assert again.is_over
    assert finish(again, setting.offer(40, 0.1)) == [], "the training is over"
    again.close()
    assert bundle_steps(setting.folder) == [10]


def test_the_evaluator_ends_with_the_training(setting: SimpleNamespace):
    validation = setting.make()
    setting.hold.touch()
    validation.poll(setting.offer(10, 0.2))
    until(lambda: setting.process.exists() and setting.process.read_text())
    process = int(setting.process.read_text())
    assert is_running(process)
    validation.close()
    until(lambda: not is_running(process))


def test_ctrl_c_leaves_the_last_evaluation_out(setting: SimpleNamespace):
    validation = setting.make()
    setting.hold.touch()
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 1:
            raise KeyboardInterrupt

    wait_for_last(validation, setting.offer(10, 0.2), tell)
    assert told == ["waiting for the last evaluation (Ctrl-C leaves it out)", "the last evaluation was left out"]
    validation.close()
    assert bundle_steps(setting.folder) == [10], "a resume evaluates it"
