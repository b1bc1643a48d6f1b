"""What a rank does beside training: checkpoints, metrics and pictures for MLflow, and whether to stop."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ray.train.v2._internal.execution.context import get_train_context

from icface.errors import IcfaceError
from icface.sheets import Row, contact_sheet
from icface.training.checkpoint import Save
from icface.training.config import TrainConfig
from icface.training.distributed import any_rank
from icface.training.fit import Hooks
from icface.training.trainer import rate_factor
from orchestration.tracking.metric_names import all_grouped
from orchestration.tracking.run_logger import RunLogger
from orchestration.tracking.system_metrics import SystemMetrics
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.coordinator import StopWanted
from orchestration.train.phase_seconds import PhaseSeconds
from orchestration.train.profiling import StepProfiler
from orchestration.train.rank_job import RankJob

SAMPLES = ("source", "neutral", "animated", "driving")
"""The columns of a sample grid."""
CELL = 128
"""Least side of a picture in what MLflow shows, px."""


class StorageFailed(IcfaceError):
    """Rank 0 could not store something; every rank raises it."""


class NodeGoes(Exception):
    """A node of the training is about to be taken away.

    Every rank raises it when the checkpoint of its last step is written, so that Ray Train starts them on other nodes.
    """


def ranks_to_go() -> list[int]:
    """The ranks whose nodes are about to be taken away, as far as this rank was told; none while all stay.

    Ray tells its ranks when a node drains: its `ray start --block` got SIGTERM, as a pod's does, or somebody called
    `ray drain-node`. Ray's public function is a barrier of all ranks, which each step would have to wait for.
    """
    told = get_train_context().preemption_context.preemption_info
    return [] if told is None else told.preempted_ranks


def hooks_of(
    job: RankJob,
    checkpoints: Checkpoints,
    writer: BackgroundWriter | None,
    logger: RunLogger | None,
    device: torch.device,
) -> Hooks:
    """What a rank does beside training: rank 0 has a writer of checkpoints, and a logger of metrics and pictures."""

    def checkpoint(step: int, copied: Callable[[], Save]) -> None:
        # The one before may still be written. Two at once would need twice the room.
        raise_on_all(writer.wait() if writer is not None else None, device)
        if writer is not None:
            writer.begin(step, copied())

    if logger is None or writer is None:
        return Hooks(on_checkpoint=checkpoint, should_stop=lambda: bool(ranks_to_go()))

    def log(step: int, metrics: dict[str, float]) -> None:
        times = {name: metrics[name] for name in ("images_per_second", "seconds_left") if name in metrics}
        terms = {name: value for name, value in metrics.items() if name not in {*times, "tflops"}}
        job.coordinator.post.remote(step=step, metrics=terms, **times)
        told = {name: value for name, value in metrics.items() if name != "seconds_left"}
        if "images_per_second" in metrics:
            told |= learning_rates(job.config, step) | seconds.taken(step)
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
        # Where a checkpoint was lost, the next one, which a stop asks for, finds that out on every rank.
        return stop_wanted() or writer.has_failed or bool(ranks_to_go())

    system, seconds = SystemMetrics(), PhaseSeconds()
    stop_wanted = StopWanted(job.coordinator)
    left = job.config.steps - (checkpoints.newest() or 0)
    profiler = StepProfiler(job.mlflow_run_id, left, job.gpu) if job.profile else None
    return Hooks(
        on_log=log,
        on_images=images,
        on_edits=edits,
        on_checkpoint=checkpoint,
        on_phase=seconds.begin,
        should_stop=stopped,
    )


def raise_on_all(problem: IcfaceError | None, device: torch.device) -> None:
    """Raise StorageFailed on every rank if rank 0 has a problem: the others would wait for it in the next step."""
    (failed,) = any_rank(problem is not None, device=device)
    if failed:
        raise StorageFailed(str(problem or "rank 0 could not store a checkpoint"))


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
