"""Launching a training with Ray Train, and what becomes of it: a run in MLflow, a bundle, a registered version."""

import logging
import os
import platform
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import ray.train

import orchestration
from icface.bundle import ICface, load_bundle
from icface.errors import IcfaceError
from icface.training.starting import check_fits, starting_schema
from orchestration import registry, tracking
from orchestration.config import TrainJob
from orchestration.rank import Board, RankJob, describe, perceptual_of, train_on_rank
from orchestration.references import resolve
from orchestration.runs import BUNDLE, RunRecord, run_folder
from pipelines.cluster import connect
from pipelines.dataset import Dataset
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

POLL_SECONDS = 0.5
RESTARTS = 3
"""How often a training goes on from its last checkpoint after a worker died."""
PACKAGES = ("torch", "ray", "mlflow", "numpy", "pyarrow")

OnProgress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind."""

    name: str
    run_id: str
    bundle: str | None
    """The bundle's folder or URL; None when the training was stopped."""
    version: int | None
    steps: int
    unsent: str | None = None
    """Where numbers lie that the tracking server never took."""


def train(job: TrainJob, on_progress: OnProgress = lambda numbers: None) -> TrainResult:
    """Train, and record, store and register the result.

    `on_progress` is told, about twice a second, the last numbers: `step`, losses, `images_per_second`,
    `seconds_left`, `checkpoint`. Ctrl-C writes a checkpoint and ends the training; `resume` goes on from it.

    Raises IcfaceError for a data set that cannot be trained on, a name that exists without `resume`, a resume that
    would change something, storage or tracking that a cluster cannot see, and a training that failed.
    """
    dataset = Dataset.open(Folder.at(job.dataset).absolute)
    describe(job.training, dataset)
    perceptual_of(job.training.loss)  # told here, before anything is started, when its weights cannot be had
    name = job.name or f"{Path(dataset.url).name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = run_folder(job.storage, name)
    tracking.check_reach(job.address, folder.local)
    uri = tracking.use_tracking()
    earlier = RunRecord.read(folder) if job.resume else None
    origin = _origin(job.init_from or (earlier.init_from if earlier else None), job, dataset)
    record = _record(job, name, folder, dataset, origin)
    done = folder.exists(f"{BUNDLE}/config.json")
    if not done:
        if origin is not None:
            on_progress({"stage": origin.told})
        on_progress({"stage": "starting Ray"})
        state = _run(job, name, folder, dataset, record, uri, on_progress, origin)
    else:
        state = {"step": job.training.steps}
    if not folder.exists(f"{BUNDLE}/config.json"):
        registry.end_run(record.mlflow_run_id, "KILLED")
        return TrainResult(
            name=name,
            run_id=record.mlflow_run_id,
            bundle=None,
            version=None,
            steps=state.get("step", 0),
            unsent=state.get("unsent"),
        )
    on_progress({"stage": "recording the bundle"})
    with tempfile.TemporaryDirectory(prefix="icface-bundle-") as temporary:
        local = _local_bundle(folder, Path(temporary))
        registry.log_bundle(record.mlflow_run_id, local)
        number = registry.register(record.mlflow_run_id, local, job.register) if job.register else None
    registry.end_run(record.mlflow_run_id, "FINISHED")
    return TrainResult(
        name=name,
        run_id=record.mlflow_run_id,
        bundle=folder.path(BUNDLE) if folder.local else f"{folder.url}/{BUNDLE}",
        version=number,
        steps=state.get("step", job.training.steps),
        unsent=state.get("unsent"),
    )


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """The model that a training begins with."""

    model: ICface
    name: str
    """Pinned: see `ModelReference.pinned`."""
    changes: list[str]
    """What becomes of its attributes, a line each."""

    @property
    def told(self) -> str:
        """In words, for the terminal."""
        return "\n  ".join([f"beginning with the weights of {self.name}", *self.changes])


def _origin(init_from: str | None, job: TrainJob, dataset: Dataset) -> _Origin | None:
    """Raises IcfaceError when there is no such model or its weights do not fit the configuration."""
    if init_from is None:
        return None
    reference = resolve(init_from)
    start = load_bundle(reference.folder)
    check_fits(job.training.model, start)
    _, changes = starting_schema(dataset.schema, start.schema)
    return _Origin(model=start, name=reference.pinned, changes=changes)


def _record(job: TrainJob, name: str, folder: Folder, dataset: Dataset, origin: _Origin | None) -> RunRecord:
    """The run's record: the one that is there (`resume`) or a new one with a new MLflow run."""
    record = RunRecord.read(folder)
    config = job.training.to_json()
    init_from = origin.name if origin else None
    if record is not None:
        if not job.resume:
            raise IcfaceError(
                f"the run {name} exists in {job.storage}: add --resume to go on, or choose another --name"
            )
        record.check_same(config, dataset.hash, init_from)
        registry.end_run(record.mlflow_run_id, "RUNNING")
        return record
    if job.resume:
        raise IcfaceError(f"there is no run {name} in {job.storage} to resume; leave --resume out to start it")
    facts = {
        "dataset": dataset.url,
        "dataset_hash": dataset.hash,
        "analyzer": dataset.analyzer["fingerprint"],
        "licence": dataset.licence,
        "workers": job.workers,
        "checkpoints": folder.url,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    parameters = tracking.flat(config)
    if origin is not None:
        parameters["init_from"] = origin.name
        facts |= {"licence": describe(job.training, dataset, origin.model.config).licence}
        facts["init_from_changes"] = "; ".join(origin.changes) or "none"
    record = RunRecord(
        config=config,
        dataset=dataset.url,
        dataset_hash=dataset.hash,
        mlflow_run_id=registry.start_run(name, parameters, facts, _commit(), dataset),
        init_from=init_from,
    )
    record.write(folder)
    return record


def _run(
    job: TrainJob,
    name: str,
    folder: Folder,
    dataset: Dataset,
    record: RunRecord,
    uri: str,
    on_progress: OnProgress,
    origin: _Origin | None,
) -> dict[str, Any]:
    """Train under Ray; returns the last numbers. Raises IcfaceError when the training failed."""
    with connect(job.address, job.workers, packages=(orchestration,)) as cores:
        if job.workers > max(cores, 1) and job.address == "local":
            raise IcfaceError(f"--workers {job.workers} is more than the {cores} cores here")
        _quiet_train()
        board: Any = ray.remote(num_cpus=0)(Board)
        board = board.remote()
        total = int(ray.cluster_resources().get("CPU", 1))
        threads = max(1, min(total, os.cpu_count() or 1) // job.workers) if job.address == "local" else 1
        rank_job = RankJob(
            config=job.training,
            dataset=dataset.url,
            folder=folder.absolute,
            tracking_uri=uri,
            mlflow_run_id=record.mlflow_run_id,
            cache=RowCache(Path(job.cache).absolute(), int(job.cache_gib * 2**30)) if job.cache else None,
            threads=threads,
            gpu=job.gpu,
            board=board,
            start=ray.put(origin.model) if origin else None,
        )
        trainer = _trainer(job, name, rank_job)
        outcome: dict[str, Any] = {}
        # Not Thread.join: interrupted by Ctrl-C, it takes the thread for dead (CPython issue 89437).
        ended = threading.Event()

        def run() -> None:
            try:
                outcome["result"] = trainer.fit()
            except BaseException as error:  # a KeyboardInterrupt of Ray's own must not pass for success
                outcome["error"] = error
            finally:
                ended.set()

        # In a thread of its own, so that Ctrl-C reaches us and not Ray Train, which would abort without a checkpoint.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        stopping = False
        while not ended.is_set():
            try:
                ended.wait(POLL_SECONDS)
                on_progress(_read(board))
            except KeyboardInterrupt:
                if stopping:
                    raise
                stopping = True
                on_progress({"stage": "stopping: a checkpoint is written (Ctrl-C again leaves without)"})
                board.ask_to_stop.remote()
        state = _read(board)
        error = state.get("error") or outcome.get("error")
        if error is not None:
            registry.end_run(record.mlflow_run_id, "FAILED")
            line = error if isinstance(error, str) else _cause(error)
            raise IcfaceError(f"the training {name} failed at step {state.get('step', 0)}: {line}")
        return state


def _trainer(job: TrainJob, name: str, rank_job: RankJob) -> Any:
    from ray.train.torch import TorchConfig, TorchTrainer

    base = Folder.at(job.storage)
    place: dict[str, Any] = {"storage_path": base.root}
    if not base.local:
        import pyarrow.fs

        place["storage_filesystem"] = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(base.fs))
    return TorchTrainer(
        train_on_rank,
        train_loop_config={"job": rank_job},
        scaling_config=ray.train.ScalingConfig(num_workers=job.workers, use_gpu=job.gpu),
        torch_config=TorchConfig(backend="nccl" if job.gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=name,
            failure_config=ray.train.FailureConfig(max_failures=RESTARTS),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            **place,
        ),
    )


def _read(board: Any) -> dict[str, Any]:
    try:
        return dict(ray.get(board.read.remote(), timeout=10))
    except ray.exceptions.RayError:
        return {}


def _quiet_train() -> None:
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    for name in ("ray.train", "ray.train.v2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _local_bundle(folder: Folder, temporary: Path) -> Path:
    if folder.local:
        return Path(folder.path(BUNDLE))
    target = temporary / BUNDLE
    target.mkdir()
    for name in folder.names(BUNDLE):
        (target / name).write_bytes(folder.read(f"{BUNDLE}/{name}"))
    return target


def _commit() -> str | None:
    """The commit of the code that trains, with `+` when there are changes; None outside a checkout."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed.strip() else "")
