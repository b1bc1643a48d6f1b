"""`icface run`: preprocess, train (one or a small sweep), evaluate, compare and promote, each when it has to be.

What every step was made from is kept beside the workflow file. A step whose inputs have not changed is skipped; a
workflow that was stopped, by whatever, goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from icface.errors import IcfaceError
from icface.training.config import PRESETS, TrainConfig
from orchestration.config import TrainJob
from pipelines.config import PreprocessConfig

Stage = Literal["train", "evaluate", "compare", "promote"]
STAGES: tuple[Stage, ...] = ("train", "evaluate", "compare", "promote")
"""Kinds of steps in their order; preprocessing comes before them and looks itself for what has changed."""
SWEEP = "sweep"
"""Under which the run that the trainings are parts of is kept."""
Tell = Callable[[str, str], None]
"""Told the step and what becomes of it, in words."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a sweep."""

    name: str
    """Beginning of the run's name; the rest is a hash of its inputs."""
    preset: str = "icface"
    """icface, small or paper."""
    training: Mapping[str, Any]
    """Fields that differ from the preset, as in `model: {size: 64}`."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise IcfaceError(f"train {self.name}: unknown preset {self.preset!r}; known are {', '.join(PRESETS)}")


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """What a workflow file says."""

    model: str
    """Registered model that the versions belong to."""
    preprocess: PreprocessConfig
    train: tuple[Trial, ...]
    alias: str = "champion"
    """What the best version gets, if the gate of `models promote` lets it pass."""
    storage: str = "./runs"
    """Where runs are kept; a path or an fsspec URL."""
    workers: int = 1
    """Processes that train together."""
    gpu: bool = False
    """Give each worker a GPU."""
    address: str = "local"
    """Ray cluster for the trainings, as in `icface train`."""
    per_track: int = 50
    """Driving frames of a track in the evaluation."""
    page: str = "comparison.html"
    """Where the comparison of a sweep is written."""

    def __post_init__(self) -> None:
        names = [trial.name for trial in self.train]
        if not names or len(set(names)) < len(names):
            raise IcfaceError("train wants one or more entries, each with a name of its own")

    @classmethod
    def from_yaml(cls, path: str) -> "Workflow":
        """Read a workflow file. Raises IcfaceError that names what cannot be understood."""
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise IcfaceError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        if not isinstance(values, dict):
            raise IcfaceError(f"{path} must hold fields: model, preprocess, train")
        try:
            _check_names(values, _names(cls), "the workflow")
            for key, names in (("preprocess", PreprocessConfig.flat_names()), ("train", _names(Trial))):
                entries = values.get(key, {})
                for entry in entries if isinstance(entries, list) else [entries]:
                    _check_names(entry, names, key)
            return cls(
                **{
                    **values,
                    "preprocess": PreprocessConfig.from_flat(values["preprocess"]),
                    "train": tuple(Trial(**{"training": {}, **entry}) for entry in values["train"]),
                }
            )
        except KeyError as error:
            raise IcfaceError(f"{path}: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            raise IcfaceError(f"{path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a workflow led to."""

    versions: dict[str, int]
    """Version of the registered model by the trial's name."""
    best: str
    """Name of the trial with the lowest face-box L1."""
    promoted: str
    """Why the best version has the alias, or why it was refused."""
    done: tuple[str, ...]
    """Steps that were not skipped."""


def run(path: str, tell: Tell = lambda step, words: None, again_from: Stage | None = None) -> Outcome:
    """Do what the workflow file at `path` says and is not done yet; from the stage `again_from` on all is done again.

    Raises IcfaceError for a file that cannot be understood, and what its steps raise.
    """
    workflow = Workflow.from_yaml(path)
    state = _State(Path(path))
    if again_from is not None:
        state.forget(STAGES[STAGES.index(again_from) :])
    return _Run(workflow, state, tell, Path(path).stem).all()


class _State:
    """What each step was made from and led to, in `WORKFLOW.state.json` beside the file."""

    def __init__(self, workflow: Path) -> None:
        from pipelines.storage import Folder

        self._folder = Folder.at(workflow.absolute().parent)
        self._name = f"{workflow.stem}.state.json"
        try:
            self._steps: dict[str, Any] = json.loads(self._folder.read(self._name))
        except FileNotFoundError:
            self._steps = {}
        except ValueError:
            raise IcfaceError(
                f"{workflow.with_suffix('.state.json')} is damaged: remove it, and all is done again"
            ) from None

    def known(self, step: str, inputs: str) -> Any:
        """What the step led to with these inputs, or None."""
        kept = self._steps.get(step)
        return kept["result"] if kept and kept["inputs"] == inputs else None

    def forget(self, stages: Sequence[str]) -> None:
        """Steps of these kinds are to be done again. A training that is there under its name is another one then."""
        for step in list(self._steps):
            stage = step.split(" ")[0]
            if stage in stages:
                round_number = self._steps[step].get("round", 0) + 1
                self._steps[step] = {"inputs": None, "result": None, "round": round_number}
        self._write()

    def round(self, step: str) -> int:
        """How often the step was asked for again."""
        return int(self._steps.get(step, {}).get("round", 0))

    def keep(self, step: str, inputs: str, result: Any) -> None:
        self._steps[step] = {"inputs": inputs, "result": result, "round": self.round(step)}
        self._write()

    def _write(self) -> None:
        self._folder.write(self._name, (json.dumps(self._steps, indent=1, sort_keys=True) + "\n").encode())


class _Run:
    def __init__(self, workflow: Workflow, state: _State, tell: Tell, name: str) -> None:
        self.workflow, self.state, self.tell, self.name = workflow, state, tell, name
        self.done: list[str] = []

    def all(self) -> Outcome:
        from orchestration.registry.versions import nested_under
        from orchestration.tracking.run_logger import use_tracking

        use_tracking()
        dataset_hash = self._preprocess()
        with nested_under(self._sweep() if len(self.workflow.train) > 1 else None):
            versions = {trial.name: self._train(trial, dataset_hash) for trial in self.workflow.train}
        scores = {name: self._evaluate(name, version, dataset_hash) for name, version in versions.items()}
        if len(versions) > 1:
            self._compare(list(versions.values()), dataset_hash)
        best = min(scores, key=lambda name: (scores[name], name))
        promoted = self._promote(best, versions[best], scores)
        return Outcome(versions=versions, best=best, promoted=promoted, done=tuple(self.done))

    def _sweep(self) -> str:
        """The run that all trainings of this file are parts of."""
        from orchestration.registry.versions import has_run, start_sweep

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
    ) -> Any:
        """The result of a step: the kept one if it is still `there`, or that of `work`, told the inputs' hash."""
        counted = [inputs, self.state.round(name)]
        digest = hashlib.sha256(json.dumps(counted, sort_keys=True, default=str).encode()).hexdigest()
        known = self.state.known(name, digest)
        if known is not None and there(known):
            self.tell(name, "nothing has changed: skipped")
            return known
        self.tell(name, "at work")
        result = work(digest)
        self.state.keep(name, digest, result)
        self.done.append(name)
        return result

    def _preprocess(self) -> str:
        from pipelines.dataset import Dataset
        from pipelines.preprocess.job import preprocess

        # It looks itself for what has changed in the source, and starts nothing where nothing has.
        self.tell("preprocess", "looking at the source")
        summary = preprocess(self.workflow.preprocess)
        if summary.new_clips:
            self.done.append("preprocess")
        return Dataset.open(summary.url).hash

    def _train(self, trial: Trial, dataset_hash: str) -> int:
        from orchestration.registry import versions as registry
        from orchestration.train.driver import train
        from orchestration.train.run_folder import RunRecord, run_folder

        workflow = self.workflow
        config = TrainConfig.preset(trial.preset).merge(dict(trial.training))

        def made(run_id: str) -> list[int]:
            names = {item.name for item in registry.versions()}
            found = registry.versions(workflow.model) if workflow.model in names else []
            return [item.number for item in found if item.run_id == run_id]

        def work(digest: str) -> int:
            name = f"{trial.name}-{digest[:10]}"
            record = RunRecord.read(run_folder(workflow.storage, name))
            begun = record is not None
            if record is not None and (numbers := made(record.mlflow_run_id)):
                return numbers[0]  # it was registered, and stopped before that was written down
            job = TrainJob(
                dataset=workflow.preprocess.dataset,
                workers=workflow.workers,
                gpu=workflow.gpu,
                storage=workflow.storage,
                name=name,
                address=workflow.address,
                resume=begun,
                register=workflow.model,
                training=config,
            )
            result = train(job)
            if result.version is None:
                raise IcfaceError(f"the training {name} was stopped at step {result.steps}; run the workflow again")
            return result.version

        def there(version: int) -> bool:
            return any((item.name, item.number) == (workflow.model, version) for item in registry.versions())

        inputs = [config.to_json(), dataset_hash, workflow.model, workflow.storage]
        return int(self._step(f"train {trial.name}", inputs, work, there))

    def _evaluate(self, name: str, version: int, dataset_hash: str) -> float:
        from orchestration.registry.evaluation import evaluate_model
        from orchestration.registry.promotion import gate_score

        workflow = self.workflow

        def work(_: str) -> float:
            model = f"models:/{workflow.model}/{version}"
            report = evaluate_model(model, workflow.preprocess.dataset, per_track=workflow.per_track)
            return gate_score(report.metrics())[1]

        return float(self._step(f"evaluate {name}", [version, dataset_hash, workflow.per_track], work))

    def _compare(self, versions: list[int], dataset_hash: str) -> None:
        from orchestration.registry.comparison import compare

        workflow = self.workflow

        def work(_: str) -> str:
            models = [f"models:/{workflow.model}/{version}" for version in versions]
            found = compare(models, workflow.preprocess.dataset, per_track=workflow.per_track)
            found.write(workflow.page)
            return str(Path(workflow.page).absolute())

        inputs = [versions, dataset_hash, workflow.per_track, workflow.page]
        self._step("compare", inputs, work, lambda page: Path(page).exists())

    def _promote(self, best: str, version: int, scores: dict[str, float]) -> str:
        from orchestration.registry.promotion import promote

        workflow = self.workflow

        def work(_: str) -> str:
            try:
                return promote(workflow.model, version, workflow.alias)
            except IcfaceError as refused:
                return f"refused: {refused}"

        return str(self._step("promote", [best, version, scores, workflow.alias], work))


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _check_names(values: Any, known: Sequence[str], place: str) -> None:
    if not isinstance(values, dict):
        raise IcfaceError(f"{place} must hold fields")
    unknown = [name for name in values if name not in known]
    if unknown:
        raise IcfaceError(f"{place} has no field {unknown[0]!r}; it has {', '.join(known)}")
