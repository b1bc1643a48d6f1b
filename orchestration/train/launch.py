"""The driver's side of a training under Ray: the ranks are started, listened to, and asked to stop."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.v2._internal.constants import ENABLE_PREEMPTION_WATCHER_ENV_VAR

import orchestration
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError, root_cause
from orchestration.cluster.nodes import check_cluster_consistency
from orchestration.config import TrainJob
from orchestration.registry import runs
from orchestration.registry.evaluation import PairChoice
from orchestration.tracking import credentials
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.controller_callback import TellController
from orchestration.train.coordinator import start_coordinator
from orchestration.train.progress import OnProgress, TrainingProgress
from orchestration.train.rank import train_on_rank
from orchestration.train.rank_job import RankJob
from orchestration.train.run_folder import RUN
from orchestration.train.run_logging import open_logger
from orchestration.train.validation import Validation, wait_for_last
from orchestration.train.waiting import Waiting, check_gpus, ranks_live
from pipelines.cluster import connect
from pipelines.dataset import META
from pipelines.loading.mixture import Mixture
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

POLL_SECONDS = 0.5
ALONE_SECONDS = 5.0
"""How long no rank may be there before a training that is to stop is left: those that just ended do not count."""
THREAD = "icface-training"
DEATHS = 50
"""After so many deaths Ray Train gives up."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A training that is ready to start."""

    job: TrainJob
    name: str
    folder: Folder
    """Of the run."""
    dataset: Mixture
    tracking_uri: str
    mlflow_run_id: str
    bundle_config: BundleConfig
    init: ICface | None
    """Whose weights it begins with."""
    pairs: PairChoice | None = None
    """What it is evaluated on beside the training; None evaluates nothing."""


def launch(ready: Launch, on_progress: OnProgress) -> TrainingProgress:
    """Train under Ray; returns the last progress.

    Ctrl-C and SIGTERM ask the ranks for a checkpoint and an end. Raises IcfaceError when the training failed.
    """
    job, folder, dataset = ready.job, ready.folder, ready.dataset
    least, most = job.worker_range
    # Ray Data's readers, and one CPU for the tasks that hand out the work.
    readers = max(1, job.training.data.workers) if job.ingest == "ray" else 0
    wanted = most * (1 + readers) + (1 if readers else 0)
    _terminate_like_ctrl_c()
    with connect(job.address, wanted, packages=(orchestration,)):
        _terminate_like_ctrl_c()  # again: Ray has a handler of its own
        if job.address == "local":
            check_gpus(job, int(ray.cluster_resources().get("GPU", 0)))
        cores = int(ray.cluster_resources().get("CPU", 1))
        if readers and not job.gpu and cores < least * (1 + readers) + 1:
            raise IcfaceError(
                f"--ingest ray wants a CPU for each of the {least * readers} readers beside the training, and one to "
                f"spare; the cluster has {cores} CPUs"
            )
        check_cluster_consistency(
            None if job.address == "local" else ready.tracking_uri,
            {
                "--storage": (folder, RUN),
                "the data set": (Folder.at(dataset.url), META),
                **{f"--with {each.dataset.url}": (Folder.at(each.dataset.url), META) for each in dataset.parts[1:]},
            },
        )
        _quiet_train()
        _watch_for_notices(job.address != "local" or len(ray.nodes()) > 1)
        coordinator = start_coordinator()
        threads = max(1, (os.cpu_count() or 1) // most) if job.address == "local" else 1
        rank_job = RankJob(
            config=job.training,
            bundle_config=ready.bundle_config,
            dataset=dataset.url,
            mixed_with=dataset.others,
            folder=folder.absolute,
            tracking_uri=credentials.complete(ready.tracking_uri),
            mlflow_run_id=ready.mlflow_run_id,
            cache=RowCache(Path(job.cache).absolute(), int(job.cache_gib * 2**30)) if job.cache else None,
            threads=threads,
            gpu=job.gpu,
            profile=job.profile,
            evaluate_every=job.evaluate_every if ready.pairs is not None else 0,
            ray_data=bool(readers),
            coordinator=coordinator,
            init=ray.put(ready.init) if ready.init is not None else None,
        )
        trainer = _trainer(job, ready.name, rank_job, readers)
        waiting = Waiting({"GPU": least if job.gpu else 0, "CPU": 0 if job.gpu else least * (1 + readers)})
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
        thread = threading.Thread(target=run, name=THREAD, daemon=True)
        with _validation(ready) as validation:
            thread.start()
            try:
                known, left = _watch(coordinator, ended, waiting, validation, on_progress)
            finally:
                _leave(coordinator, ended)
            if left:
                runs.end_run(ready.mlflow_run_id, "KILLED")
                return known
            known = _read(coordinator) or known
            error = known.error or outcome.get("error")
            if error is not None:
                line = error if isinstance(error, str) else root_cause(error)
                raise IcfaceError(f"the training {ready.name} failed at step {known.step or 0}: {line}")
            if validation is not None and not known.stopped:
                wait_for_last(validation, known.candidate, lambda words: on_progress(replace(known, notice=words)))
        return known if validation is None or validation.unsent is None else replace(known, unsent=validation.unsent)


@contextmanager
def _validation(ready: Launch) -> Iterator[Validation | None]:
    """What evaluates models beside the training; it has ended when the block has, however that ends."""
    if ready.pairs is None:
        yield None
        return
    validation = Validation(
        ready.folder,
        ready.pairs,
        selection=ready.job.selection,
        patience=ready.job.patience,
        # On one machine a process more finds its time; on a cluster it waits for a place of its own.
        cpus=0 if ready.job.address == "local" else 1,
        logger=open_logger(ready.mlflow_run_id, credentials.complete(ready.tracking_uri)),
    )
    try:
        yield validation
    finally:
        validation.close()


def _trainer(job: TrainJob, name: str, rank_job: RankJob, readers: int) -> Any:
    from ray.train.torch import TorchTrainer

    from orchestration.train.process_group import ProcessGroup

    base = Folder.at(job.storage)
    options: dict[str, Any] = {"storage_path": base.root, "callbacks": [TellController(rank_job.coordinator)]}
    if not base.local:
        import pyarrow.fs

        options["storage_filesystem"] = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(base.fs))
    data: dict[str, Any] = {}
    if readers:
        from pipelines.loading.ray_ingest import PairIngest, blocks_of

        checkpoints = Checkpoints(Folder.at(rank_job.folder))
        config = rank_job.config
        data = {
            # Called at each start of the ranks, which go on from the newest checkpoint.
            "datasets": {"pairs": lambda: blocks_of(config, checkpoints.newest() or 0)},
            "dataset_config": PairIngest(
                rank_job.dataset, rank_job.mixed_with, rank_job.cache, config, rank_job.bundle_config.schema, readers
            ),
        }
    least, most = job.worker_range
    scaling: dict[str, Any] = {
        "num_workers": most if least == most else (least, most),
        "use_gpu": job.gpu,
        # A group that grows starts again from its checkpoint: not before there is a new one.
        "elastic_resize_monitor_interval_s": 120 * job.training.checkpoint_minutes,
    }
    return TorchTrainer(
        train_on_rank,
        train_loop_config={"job": rank_job},
        scaling_config=ray.train.ScalingConfig(**scaling),
        torch_config=ProcessGroup(backend="nccl" if job.gpu else "gloo"),
        # The coordinator decides whether to start again: Ray counts deaths, however far apart. Ray's own limit is for
        # ranks that never get as far as asking it.
        run_config=ray.train.RunConfig(
            name=name, failure_config=ray.train.FailureConfig(max_failures=DEATHS), **options
        ),
        **data,
    )


def _watch(
    coordinator: Any,
    ended: threading.Event,
    waiting: Waiting,
    validation: Validation | None,
    on_progress: OnProgress,
) -> tuple[TrainingProgress, bool]:
    """Tell of the progress until the training has ended; the last of it, and whether it is left without a place.

    The first Ctrl-C asks the ranks for a checkpoint and an end. The second is raised.
    """
    stopping, early, known, alone = False, False, TrainingProgress(), 0.0
    while not ended.is_set():
        try:
            ended.wait(POLL_SECONDS)
            known = _read(coordinator) or known
            if validation is not None and (told := validation.poll(known.candidate)) is not None:
                on_progress(replace(known, notice=told))
            if validation is not None and validation.is_over and not early:
                early = True
                coordinator.end_early.remote()
            if not known.starts and (sentence := waiting.sentence()) is not None:
                on_progress(replace(known, stage=sentence))
            else:
                on_progress(replace(known, stage=known.hang or known.stage))
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            coordinator.ask_to_stop.remote()  # also where no rank is there now: those that start again must hear it
            if ranks_live(_ranks(coordinator) or []):
                on_progress(replace(known, stage="stopping: a checkpoint is written (Ctrl-C again leaves without)"))
        if stopping and not ended.is_set():
            ranks = _ranks(coordinator)
            alone = 0.0 if ranks is None or ranks_live(ranks) else alone or time.monotonic()
            # Nobody trains, so nobody writes a checkpoint: it waits for a place, for the first time or again.
            if alone and (not known.starts or time.monotonic() - alone > ALONE_SECONDS):
                return known, True
    return known, False


def _leave(coordinator: Any, ended: threading.Event) -> None:
    """End what still trains, and the thread that waits for it: one that waits while Ray shuts down aborts the process.

    Nothing happens after a training that ended by itself.
    """
    with suppress(ray.exceptions.RayError):
        while not ended.is_set():
            if (controller := ray.get(coordinator.read_controller.remote())) is not None:
                ray.kill(controller)
            ended.wait(POLL_SECONDS)


def _terminate_like_ctrl_c() -> None:
    """A job that is stopped, a node that is taken away: both say SIGTERM first, and a checkpoint takes a moment."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _read(coordinator: Any) -> TrainingProgress | None:
    """None where it does not answer now."""
    try:
        progress: TrainingProgress = ray.get(coordinator.read.remote(), timeout=10)
        return progress
    except ray.exceptions.RayError:
        return None


def _ranks(coordinator: Any) -> list[Any] | None:
    """Handles of the ranks at work; None where the coordinator is too busy to tell."""
    try:
        handles: list[Any] = ray.get(coordinator.ranks.remote(), timeout=10)
        return handles
    except ray.exceptions.GetTimeoutError:
        return None
    except ray.exceptions.RayError:
        return []


def _watch_for_notices(may_come: bool) -> None:
    """Whether Ray Train starts a process that looks for notices of nodes to be taken away: this machine gets none."""
    os.environ[ENABLE_PREEMPTION_WATCHER_ENV_VAR] = "1" if may_come else "0"


def _quiet_train() -> None:
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    for name in ("ray.train", "ray.train.v2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
