"""`icface run`: preprocess, train (one or a small sweep), evaluate, compare and promote, each when it has to be.

What every step was made from is kept beside the workflow file, with the tracking server that has its models. A step
whose inputs have not changed is skipped; a workflow that was stopped, by whatever, goes on where it was.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from icface.errors import IcfaceError
from icface.words import counted
from orchestration import reporting
from orchestration.cluster import job_environment
from orchestration.devices import device_here
from orchestration.terminal import Reporter
from orchestration.tracking.run_logger import tracking_uri
from orchestration.workflow_file import Trial, Workflow
from orchestration.workflow_state import State, Tell, is_there

Stage = Literal["train", "evaluate", "compare", "promote"]
STAGES: tuple[Stage, ...] = ("train", "evaluate", "compare", "promote")
"""Kinds of steps in their order; preprocessing comes before them and looks itself for what has changed."""
SKIPPED = "nothing has changed: skipped"
SWEEP = "sweep"
"""Under which the run that the trainings are parts of is kept."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a workflow led to."""

    model: str
    """Name of the registered model."""
    versions: dict[str, int]
    """Version of the registered model by the trial's name."""
    best: str
    """Name of the trial with the lowest face-box L1."""
    promoted: str
    """Why the best version has the alias, or why it was refused."""
    done: tuple[str, ...]
    """Steps that were not skipped."""


def run(
    path: str,
    tell: Tell = lambda step, words: None,
    again_from: Stage | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Do what the workflow file at `path` says and is not done yet; from the stage `again_from` on all is done again.

    Relative paths are meant from the file's folder. `tell` is told what becomes of each step; `reporter` shows how far
    the one at work is.

    Raises IcfaceError for a file that cannot be understood, for results that another tracking server has, and what its
    steps raise.
    """
    workflow, state = Workflow.from_yaml(path), State(Path(path))
    state.join_tracking(again_from == "train", tell)
    if again_from is not None:
        state.forget(STAGES[STAGES.index(again_from) :])
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        return _Run(workflow, state, tell, Path(path), reporter or Reporter(nowhere)).all()


def plan(path: str, again_from: Stage | None = None) -> list[tuple[str, str]]:
    """Each step of a workflow file, and what `run` would do about it in words. Nothing is started or written.

    Raises as `run`.
    """
    workflow, state = Workflow.from_yaml(path), State(Path(path))
    state.writes = False
    state.join_tracking(again_from == "train", lambda step, words: None)
    if again_from is not None:
        state.forget(STAGES[STAGES.index(again_from) :])
    steps: list[tuple[str, str]] = []
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        _Plan(workflow, state, lambda step, words: steps.append((step, words)), Path(path), Reporter(nowhere)).all()
    return steps


class _Run:
    def __init__(self, workflow: Workflow, state: State, tell: Tell, file: Path, reporter: Reporter) -> None:
        self.stated = workflow
        """As it is written, which is what steps were made from: a folder that is moved changes nothing."""
        self.workflow = workflow.beside(file.absolute().parent)
        if job_environment.is_job():
            self.workflow = self.workflow.joining("auto")
        self.state, self.tell, self.name, self.reporter = state, tell, file.stem, reporter
        self.done: list[str] = []

    def all(self) -> Outcome:
        from orchestration.registry.runs import nested_under

        dataset_hash = self._preprocess()
        with nested_under(self._sweep() if len(self.workflow.train) > 1 else None):
            versions = {trial.name: self._train(trial, dataset_hash) for trial in self.workflow.train}
        scores = {name: self._evaluate(name, version, dataset_hash) for name, version in versions.items()}
        if len(versions) > 1:
            self._compare(list(versions.values()), dataset_hash)
        best = min(scores, key=lambda name: (scores[name], name))
        promoted = self._promote(best, versions[best], scores)
        return Outcome(
            model=self.workflow.model, versions=versions, best=best, promoted=promoted, done=tuple(self.done)
        )

    def _sweep(self) -> str | None:
        """The run that all trainings of this file are parts of."""
        from orchestration.registry.runs import has_run, start_sweep

        known = self.state.known(SWEEP, self.workflow.model)
        if known is None or not has_run(known):
            tags = {"mlflow.source.name": "icface run", "icface.model": self.workflow.model}
            known = start_sweep(f"{self.name}: {', '.join(trial.name for trial in self.workflow.train)}", tags)
            self.state.keep(SWEEP, self.workflow.model, known)
        return str(known)

    def _step(
        self,
        name: str,
        inputs: Any,
        work: Callable[[str], Any],
        there: Callable[[Any], bool] = lambda result: True,
        details: str = "",
    ) -> Any:
        """The result of a step: the kept one if it is still `there`, or that of `work`, told the inputs' hash.

        `details`: what the work is, in words.
        """
        text = json.dumps([inputs, self.state.round(name)], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        known = self.state.known(name, digest)
        if known is not None and self._holds(lambda: there(known)):
            self.tell(name, SKIPPED)
            return known
        return self._do(name, digest, work, f": {details}" if details else "")

    def _holds(self, there: Callable[[], bool]) -> bool:
        return there()

    def _do(self, name: str, digest: str, work: Callable[[str], Any], details: str) -> Any:
        self.tell(name, f"at work{details}")
        result = work(digest)
        self.state.keep(name, digest, result)
        self.done.append(name)
        return result

    def _preprocess(self) -> str:
        from pipelines.dataset import Dataset
        from pipelines.preprocess.job import preprocess

        # It looks itself for what has changed in the source, and starts nothing where nothing has.
        self.tell("preprocess", "looking at the source")
        summary = preprocess(self.workflow.preprocess, reporting.preprocessing_of(self.reporter))
        if summary.new_clips:
            self.done.append("preprocess")
        return Dataset.open(summary.url).hash

    def _train(self, trial: Trial, dataset_hash: str) -> int:
        from orchestration.registry import versions as registry
        from orchestration.train.driver import train
        from orchestration.train.run_folder import RunRecord, run_folder

        workflow = self.workflow
        config = trial.config

        def made(run_id: str) -> list[int]:
            return [item.number for item in registry.versions() if (item.name, item.run_id) == (workflow.model, run_id)]

        def work(digest: str) -> int:
            name = trial.run_name(digest)
            record = RunRecord.read(run_folder(workflow.storage, name))
            begun = record is not None
            if record is not None and (numbers := made(record.mlflow_run_id)):
                return numbers[0]  # it was registered, and stopped before that was written down
            job = workflow.job(trial, name, resume=begun)
            result = train(job, reporting.progress_of(self.reporter, config.steps, f"train {trial.name}"))
            if result.version is None:
                raise IcfaceError(f"the training {name} was stopped at step {result.steps}; run the workflow again")
            return result.version

        def there(version: int) -> bool:
            return any((item.name, item.number) == (workflow.model, version) for item in registry.versions())

        inputs = [config.to_json(), dataset_hash, workflow.model, self.stated.storage]
        details = f"{counted(config.steps, 'step')} of preset {trial.preset}, {counted(workflow.workers, 'worker')}"
        return int(self._step(f"train {trial.name}", inputs, work, there, details))

    def _evaluate(self, name: str, version: int, dataset_hash: str) -> float:
        from orchestration.registry import versions as registry
        from orchestration.registry.evaluation import evaluate_model
        from orchestration.registry.measurer import MeasurerChoice
        from orchestration.registry.promotion import gate_score

        workflow = self.workflow

        def work(_: str) -> float:
            model = f"models:/{workflow.model}/{version}"
            report = evaluate_model(
                model,
                workflow.preprocess.dataset,
                per_track=workflow.per_track,
                progress=lambda done, total: self.reporter.progress(f"evaluate {name}", done, total),
                measuring=MeasurerChoice(device=device_here(workflow.gpu)),
            )
            return gate_score(report.metrics())[1]

        def there(_: float) -> bool:
            found = registry.versions(workflow.model)
            return any(item.number == version and item.evaluation is not None for item in found)

        return float(self._step(f"evaluate {name}", [version, dataset_hash, workflow.per_track], work, there))

    def _compare(self, versions: list[int], dataset_hash: str) -> None:
        from orchestration.registry.comparison import compare

        workflow = self.workflow

        def work(_: str) -> str:
            models = [f"models:/{workflow.model}/{version}" for version in versions]
            found = compare(
                models,
                workflow.preprocess.dataset,
                per_track=workflow.per_track,
                progress=lambda label, done, total: self.reporter.progress(f"compare {label}", done, total),
                device=device_here(workflow.gpu),
            )
            found.write(workflow.page)
            return workflow.page

        inputs = [versions, dataset_hash, workflow.per_track, self.stated.page]
        self._step("compare", inputs, work, lambda _: Path(workflow.page).exists())

    def _promote(self, best: str, version: int, scores: dict[str, float]) -> str:
        from orchestration.registry import versions as registry
        from orchestration.registry.promotion import promote

        workflow = self.workflow

        def work(_: str) -> str:
            try:
                return promote(workflow.model, version, workflow.alias, device=device_here(workflow.gpu))
            except IcfaceError as refused:
                return f"refused: {refused}"

        def there(reason: str) -> bool:
            held = any(workflow.alias in item.aliases for item in registry.versions(workflow.model))
            return held or reason.startswith("refused")

        return str(self._step("promote", [best, version, scores, workflow.alias], work, there))


class _Plan(_Run):
    """Goes through the steps and does none. What is not known yet is 0, of which no step was ever made."""

    def _sweep(self) -> None:
        return None

    def _preprocess(self) -> str:
        from pipelines.dataset import Dataset
        from pipelines.preprocess.plan import make_plan
        from pipelines.storage import Folder

        config = self.workflow.preprocess
        found = make_plan(config, Folder.at(config.source), Folder.at(config.dataset))
        if found.todo or found.stale:
            new = sum(len(shard.clips) for shard in found.todo)
            self.tell("preprocess", f"to do: {counted(new, 'clip')} of {found.clips}")
            return ""
        self.tell("preprocess", SKIPPED)
        return Dataset.open(config.dataset).hash

    def _holds(self, there: Callable[[], bool]) -> bool:
        try:
            return is_there(tracking_uri()) and there()
        except IcfaceError:  # a model that is not registered
            return False

    def _do(self, name: str, digest: str, work: Callable[[str], Any], details: str) -> int:
        self.tell(name, f"to do{details}")
        return 0
