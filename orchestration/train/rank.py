"""What each rank of a training does: read its slice of the batches, run `fit`, tell the driver and MLflow."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch

from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError, first_line
from icface.sheets import Row, contact_sheet
from icface.training.config import TrainConfig
from icface.training.critic import make_critic
from icface.training.distributed import any_rank, from_first_rank
from icface.training.finite import NonFiniteLoss
from icface.training.fit import Hooks, TrainingData, fit
from icface.training.trainer import rate_factor
from orchestration.tracking.metric_names import all_grouped
from orchestration.tracking.run_logger import RunLogger
from orchestration.tracking.system_metrics import SystemMetrics
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.coordinator import StopWanted
from orchestration.train.phases_of_ranks import Whereabouts
from orchestration.train.profiling import StepProfiler
from orchestration.train.run_logging import close_logger, open_logger
from orchestration.train.stored_bundles import of_step, store_bundle, store_for_evaluation
from pipelines.loading.mixture import Mixture
from pipelines.loading.pairs import PairBatches
from pipelines.loading.validation_frames import validation_frames
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

CALIBRATION_STEPS = 16
"""Batches on which the batch norms of the averaged weights are estimated again."""

SAMPLES = ("source", "neutral", "animated", "driving")
"""The columns of a sample grid."""
CELL = 128
"""Least side of a picture in what MLflow shows, px."""
OVER = -1
"""Said by rank 0 in place of a first step: the training is given up."""


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What the driver hands to every rank; pickled by Ray."""

    config: TrainConfig
    bundle_config: BundleConfig
    dataset: str
    mixed_with: tuple[str, ...]
    """Other data sets, as `Mixture.open` takes them."""
    folder: str
    """Of the run."""
    tracking_uri: str
    mlflow_run_id: str
    cache: RowCache | None
    """Where each node keeps copies of what it reads."""
    threads: int
    """Torch threads a rank."""
    gpu: bool
    profile: bool
    """Whether rank 0 traces some steps."""
    evaluate_every: int
    """Steps between two models that are stored to be evaluated; 0 stores none."""
    ray_data: bool
    """Whether Ray Data brings the batches."""
    coordinator: Any
    """Handle of a `TrainingCoordinator` actor."""
    init: Any = None
    """Handle of the `ICface` whose weights the training begins with; None starts from random weights."""


class StorageFailed(IcfaceError):
    """Rank 0 could not store something; every rank raises it."""


def train_on_rank(values: dict[str, Any]) -> None:
    """Ray Train's loop per worker; `values` holds a `RankJob` under `job`.

    What every rank runs into ends the loop on all of them. A failure of this rank alone is raised, so that Ray Train
    ends the others, which wait for this one.
    """
    job: RankJob = values["job"]
    try:
        _train(job)
    except (NonFiniteLoss, StorageFailed) as error:
        if ray.train.get_context().get_world_rank() == 0:
            ray.get(job.coordinator.fail.remote(str(error)))
    except IcfaceError as error:
        ray.get(job.coordinator.fail.remote(str(error)))
        raise
    except Exception as error:
        ray.get(job.coordinator.note.remote((str(error).strip().splitlines() or [type(error).__name__])[-1]))
        raise


def _train(job: RankJob) -> None:
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(job.threads)
    device = ray.train.torch.get_device() if job.gpu else torch.device("cpu")
    folder = Folder.at(job.folder)
    checkpoints = Checkpoints(folder)
    first_step = _first_step(job, rank, checkpoints, device)
    if first_step == OVER:
        return
    here = ray.get_runtime_context()
    job.coordinator.join.remote(rank, ray.util.get_node_ip_address(), here.current_actor)
    dataset = Mixture.open(job.dataset, job.mixed_with, job.cache)
    config = job.config
    bundle_config = job.bundle_config
    with checkpoints.reading(first_step) if first_step else nullcontext() as resume:
        batches = partial(
            PairBatches,
            dataset,
            config.data,
            bundle_config.schema,
            config.model.size,
            seed=config.seed,
            rank=rank,
            world_size=ranks,
        )
        pairs = batches(first_step=first_step, steps=config.steps)
        if job.ray_data:
            from pipelines.loading.ray_ingest import batches_of

            stream = batches_of(ray.train.get_dataset_shard("pairs"), pairs)
        else:
            stream = pairs.batches()
        data = TrainingData(
            batches=stream,
            identities=len(pairs.identities),
            deviations=pairs.deviations(),
            validation=validation_frames(dataset, config.data, bundle_config.schema, config.model.size),
            # Read at the end, and only for networks with batch norm; the first steps' batches, resumed or not.
            calibration=batches(steps=CALIBRATION_STEPS).batches(),
        )
        logger = None
        if rank == 0:
            logger = open_logger(job.mlflow_run_id, job.tracking_uri)
            job.coordinator.post.remote(step=first_step, stage=_stage(ranks, first_step))
        last_step = first_step

        def count(step: int, average: ICface) -> None:
            nonlocal last_step
            last_step = step
            # The last model comes after its batch norms were estimated.
            if rank == 0 and job.evaluate_every and step % job.evaluate_every == 0 and step < config.steps:
                _offer(job, average, folder, step)

        try:
            with Whereabouts(job.coordinator, rank) as whereabouts:
                model = fit(
                    config,
                    bundle_config,
                    data,
                    hooks=replace(
                        hooks_of(job, checkpoints, rank, logger, device), on_phase=whereabouts.begin, on_step=count
                    ),
                    device=device,
                    resume=resume,
                    init=ray.get(job.init) if job.init is not None else None,
                    critic=make_critic(config.loss, bundle_config, device),
                )
        except NonFiniteLoss as error:
            if error.here:
                with folder.writing(f"non-finite-batch-{rank}.pt") as path:
                    torch.save({"step": error.step, "batch": vars(error.batch)}, path)
            raise
        finally:
            if logger is not None and (unsent := close_logger(logger, folder)) is not None:
                job.coordinator.post.remote(unsent=unsent)
    if rank == 0 and ray.get(job.coordinator.bundle_wanted.remote()):
        made = of_step(model, last_step)
        try:
            store_bundle(made, folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageFailed(
                f"the bundle cannot be written to {folder.url} ({reason}); the checkpoint of the last step is whole: "
                "mend that, then go on with --resume"
            ) from None
        if job.evaluate_every:
            _offer(job, made, folder, last_step)


def _offer(job: RankJob, model: ICface, folder: Folder, step: int) -> None:
    """Store the model after `step` steps for its evaluation; what goes wrong is told, and stops nothing."""
    try:
        store_for_evaluation(model, folder, step)
        job.coordinator.post.remote(candidate=step)
    except Exception as error:  # every store raises what it likes
        line = f"the model of step {step} is not evaluated, it cannot be stored: {first_line(error)}"
        job.coordinator.post.remote(notice=line)


def _first_step(job: RankJob, rank: int, checkpoints: Checkpoints, device: torch.device) -> int:
    """The step to go on from, as rank 0 finds it in the store, or `OVER`."""
    step = 0
    if rank == 0:
        checkpoints.tidy()
        step = checkpoints.newest() or 0
        if not ray.get(job.coordinator.begin.remote(step)):
            step = OVER
    return from_first_rank(step, device)


def _stage(ranks: int, first_step: int) -> str:
    processes = f"training with {ranks} process{'es' if ranks > 1 else ''}"
    return f"{processes}, from the checkpoint of step {first_step}" if first_step else processes


def hooks_of(
    job: RankJob, checkpoints: Checkpoints, rank: int, logger: RunLogger | None, device: torch.device
) -> Hooks:
    """What a rank does beside training: rank 0 writes checkpoints, and its logger has metrics and pictures."""

    def checkpoint(step: int, save: Callable[[Path], None]) -> None:
        problem: IcfaceError | None = None
        if rank == 0:
            try:
                checkpoints.write(step, save)
                job.coordinator.post.remote(checkpoint=step)
            except IcfaceError as error:
                problem = error
        # Every rank must know, or the others would wait for rank 0 in the next step's all-reduce.
        (failed,) = any_rank(problem is not None, device=device)
        if failed:
            raise StorageFailed(str(problem or "rank 0 could not store a checkpoint"))

    if logger is None:
        return Hooks(on_checkpoint=checkpoint)

    def log(step: int, metrics: dict[str, float]) -> None:
        times = {name: metrics[name] for name in ("images_per_second", "seconds_left") if name in metrics}
        terms = {name: value for name, value in metrics.items() if name not in times}
        job.coordinator.post.remote(step=step, metrics=terms, **times)
        told = {name: value for name, value in metrics.items() if name != "seconds_left"}
        if "images_per_second" in metrics:
            told |= learning_rates(job.config, step)
        if job.gpu:
            told["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        logger.metrics(step, all_grouped(told) | system.sample())

    def images(step: int, grid: np.ndarray) -> None:
        logger.picture(step, titled(grid, SAMPLES, job.config.model.size), "samples")

    def edits(step: int, grid: np.ndarray, names: tuple[str, ...]) -> None:
        logger.picture(step, titled(grid, names, job.config.model.size), "single edits")

    def stopped() -> bool:
        if profiler is not None:
            profiler.step()
            if profiler.problem:
                job.coordinator.post.remote(stage=f"the profile could not be kept: {profiler.problem}")
                profiler.problem = None
        return stop_wanted()

    system = SystemMetrics()
    stop_wanted = StopWanted(job.coordinator)
    left = job.config.steps - (checkpoints.newest() or 0)
    profiler = StepProfiler(job.mlflow_run_id, left, job.gpu) if job.profile else None
    return Hooks(
        on_log=log,
        on_images=images,
        on_edits=edits,
        on_checkpoint=checkpoint,
        should_stop=stopped,
    )


def learning_rates(config: TrainConfig, step: int) -> dict[str, float]:
    """Those of the last of `step` steps, under the names of metrics."""
    factor = rate_factor(config, step - 1)
    rates = {"A": config.optimiser.generator_lr, "D": config.optimiser.discriminator_lr}
    return {f"{network}/learning_rate": rate * factor for network, rate in rates.items()}


def titled(grid: np.ndarray, names: Sequence[str], size: int) -> np.ndarray:
    """A grid of pictures of `size` px with the name of each column above it: (H, W, 3) uint8 RGB."""
    rows = []
    for top in range(0, len(grid), size):
        pictures = [grid[top : top + size, left : left + size] for left in range(0, grid.shape[1], size)]
        rows.append(Row(heading="", pictures=pictures, captions=names))
    return contact_sheet(rows, cell=max(size, CELL))
