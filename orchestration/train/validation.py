"""Validation beside the training, seen from the driver: which model is evaluated now, and which one is kept."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray

from icface.errors import root_cause
from orchestration.registry.evaluation import PairChoice
from orchestration.registry.run_models import bundle_at, bundle_steps
from orchestration.selection import Selection
from orchestration.tracking.run_logger import RunLogger
from orchestration.train.evaluator import Evaluator, Found
from orchestration.train.run_logging import close_logger
from orchestration.train.stored_bundles import remove_bundle
from orchestration.train.validation_record import Evaluation, ValidationRecord
from pipelines.storage import Folder

POLL_SECONDS = 0.5
LAST_SECONDS = 1800.0
"""How long a training that has ended waits for its last evaluation."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """An evaluation that was begun."""

    step: int
    answer: Any
    """Reference of what the evaluator returns."""


class Validation:
    """Evaluates models of a run one at a time; the newest one waits. No method raises or waits for an evaluation.

    `cpus`: what the evaluator reserves of the cluster. `logger` has the curves, and is closed with this.
    """

    def __init__(
        self,
        folder: Folder,
        choice: PairChoice,
        *,
        selection: Selection | None,
        patience: int | None,
        cpus: float,
        logger: RunLogger,
    ) -> None:
        self.folder, self.choice, self.cpus = folder, choice, cpus
        self.selection, self.patience, self.logger = selection, patience, logger
        self.record = ValidationRecord.read(folder)
        self._newest = max(bundle_steps(folder), default=0)
        """Step of the newest model that there is; of a run that goes on, one may have been left."""
        self._begun = self.record.last
        self._running: Running | None = None
        self._waiting: int | None = None
        self._evaluator: Any = None
        self._told: set[str] = set()
        self.unsent: str | None = None
        """What the tracking server never took, and where it lies; known when this is closed."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is evaluated, and nothing waits for it."""
        return self._running is None and (self._newest <= self._begun or self.is_over)

    @property
    def is_over(self) -> bool:
        """Whether the training is to end now, as `patience` has it."""
        return self.record.is_over(self.selection, self.patience)

    def poll(self, candidate: int | None) -> str | None:
        """Take what was found, and begin with the newest model, that of step `candidate`; what is to be told, if any.

        A problem is told once, and the training goes on.
        """
        try:
            self._newest = max(self._newest, candidate or 0)
            return self._poll()
        except Exception as error:  # storage, Ray and the evaluator raise what they like
            cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
            return self._once(f"the evaluation beside the training failed: {root_cause(cause)}")

    def close(self) -> None:
        """End the evaluator. Models that nobody needs any more are removed."""
        self._running = None
        self._lose_evaluator()
        with suppress(Exception):
            self._tidy()
        with suppress(Exception):
            self.unsent = close_logger(self.logger, self.folder)

    def _poll(self) -> str | None:
        running, told = self._running, None
        if running is not None:
            ready, _ = ray.wait([running.answer], timeout=0)
            if ready:
                self._running = None
                told = self._take(running)
            elif self._newest > running.step:
                if self._waiting not in (None, self._newest):
                    told = self._once(
                        "evaluations take longer than --evaluate-every allows: the newest model is evaluated, models "
                        "between are left out"
                    )
                self._waiting = self._newest
        if not self.is_idle and self._running is None:
            self._begin(self._newest)
        return told

    def _begin(self, step: int) -> None:
        self._begun, self._waiting = step, None
        if self._evaluator is None:
            made: Any = ray.remote(num_cpus=self.cpus, max_restarts=0)(Evaluator)
            self._evaluator = made.remote(self.choice)
        answer = self._evaluator.evaluate.remote(self.folder.absolute, bundle_at(step))
        self._running = Running(step=step, answer=answer)

    def _take(self, running: Running) -> str | None:
        try:
            found: Found = ray.get(running.answer)
        except ray.exceptions.RayTaskError:
            raise
        except Exception:  # its process is gone: the next evaluation has another one
            self._lose_evaluator()
            raise
        record, other = self.record, None
        if record.evaluations and record.conditions != found.conditions:
            record = ValidationRecord()
            other = "the pairs or the analyzer of the evaluations have changed: they begin anew"
        record = replace(record, conditions=found.conditions, pairs=found.pairs)
        self.record = record.plus(Evaluation(step=running.step, scores=found.scores), self.selection)
        self.logger.metrics(running.step, found.curves)
        self.record.write(self.folder)
        self._tidy()
        return "; ".join(filter(None, (other, self._sentence(running.step))))

    def _tidy(self) -> None:
        """Remove the models that were evaluated and are not kept, or that were left out."""
        for step in bundle_steps(self.folder):
            waits = step >= self._newest and step > self.record.last and not self.is_over
            if step != self.record.kept and not waits:
                remove_bundle(self.folder, step)

    def _sentence(self, step: int) -> str:
        metric = self.selection.metric if self.selection is not None else "face_l1"
        value = self.record.score(step, metric)
        told = f"step {step}: {metric} {'cannot be measured' if value is None else f'{value:.4f}'}"
        if self.selection is None or self.record.kept is None:
            return told
        if self.record.kept == step:
            return f"{told}, the best so far"
        return f"{told} (the best is {self.record.score(self.record.kept, metric):.4f} of step {self.record.kept})"

    def _lose_evaluator(self) -> None:
        evaluator, self._evaluator = self._evaluator, None
        if evaluator is not None:
            with suppress(Exception):
                ray.kill(evaluator)

    def _once(self, sentence: str) -> str | None:
        if sentence in self._told:
            return None
        self._told.add(sentence)
        return sentence


def wait_for_last(validation: Validation, candidate: int | None, tell: Callable[[str], None]) -> None:
    """Wait for the evaluations of a training that has ended; Ctrl-C leaves them out."""
    deadline = time.monotonic() + LAST_SECONDS
    told = False
    try:
        while True:
            if (sentence := validation.poll(candidate)) is not None:
                tell(sentence)
            if validation.is_idle:
                return
            if not told:
                tell("waiting for the last evaluation (Ctrl-C leaves it out)")
                told = True
            if time.monotonic() > deadline:
                tell(f"the last evaluation was left out: it took more than {LAST_SECONDS / 60:.0f} minutes")
                return
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        tell("the last evaluation was left out")
