"""What each rank of a training does: read its slice of the batches, run `fit`, tell Ray Train and MLflow."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch

from icface.bundle import BundleConfig, save_bundle
from icface.errors import IcfaceError
from icface.licences import inherited
from icface.networks.features import PerceptualDistance, perceptual_distance
from icface.training.checkpoint import load_state
from icface.training.config import LossConfig, TrainConfig
from icface.training.fit import Hooks, NonFiniteLoss, fit
from icface.training.starting import starting_schema
from orchestration.runs import BUNDLE
from orchestration.tracking import RunLogger
from pipelines.dataset import Dataset
from pipelines.pairs import PairBatches
from pipelines.row_cache import RowCache
from pipelines.storage import Folder
from pipelines.validation_frames import validation_frames

CALIBRATION_STEPS = 16
"""Batches on which the batch norms of the averaged weights are estimated anew."""


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What the driver hands to every rank; pickled by Ray."""

    config: TrainConfig
    dataset: str
    folder: str
    """Of the run."""
    tracking_uri: str
    mlflow_run_id: str
    cache: RowCache | None
    """Where each node keeps copies of what it reads."""
    threads: int
    """Torch threads a rank."""
    gpu: bool
    board: Any
    """Handle of a `Board` actor."""
    start: Any = None
    """Handle of the `ICface` whose weights the training begins with; None begins anew."""


class Board:
    """An actor between the ranks and the driver: the last numbers, an error in one line, a wish to stop."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.error: str | None = None
        self.stop = False

    def post(self, values: dict[str, Any]) -> None:
        self.last |= values

    def fail(self, line: str) -> None:
        self.error = self.error or line

    def read(self) -> dict[str, Any]:
        return {**self.last, "error": self.error}

    def ask_to_stop(self) -> None:
        self.stop = True

    def stop_wanted(self) -> bool:
        return self.stop


def train_on_rank(values: dict[str, Any]) -> None:
    """Ray Train's loop per worker; `values` holds a `RankJob` under `job`."""
    job: RankJob = values["job"]
    try:
        _train(job)
    except IcfaceError as error:
        # The same line would come again after a restart: it goes to the driver, and the ranks end.
        ray.get(job.board.fail.remote(str(error)))


def _train(job: RankJob) -> None:
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(job.threads)
    dataset = Dataset.open(job.dataset, job.cache)
    config = job.config
    start = ray.get(job.start) if job.start is not None else None
    bundle_config = describe(config, dataset, start.config if start is not None else None)
    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        resume = Path(folder) if folder else None
        first_step = load_state(resume)["steps_done"] if resume else 0
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
        logger = None
        if rank == 0:
            unsent = Path(tempfile.gettempdir()) / f"icface-unsent-{job.mlflow_run_id}.jsonl"
            logger = RunLogger(job.mlflow_run_id, unsent, job.tracking_uri)
            job.board.post.remote({"step": first_step, "stage": "training"})
        device = ray.train.torch.get_device() if job.gpu else torch.device("cpu")
        try:
            model = fit(
                config,
                bundle_config,
                pairs.batches(),
                identities=len(pairs.identities),
                deviations=pairs.deviations(),
                hooks=_hooks(job, rank, logger),
                device=device,
                resume=resume,
                perceptual=perceptual_of(config.loss),
                validation=validation_frames(dataset, config.data, bundle_config.schema, config.model.size),
                # Read at the end, and only for networks with batch norm; the first steps' batches, resumed or not.
                calibration=batches(steps=CALIBRATION_STEPS).batches(),
                start=start,
            )
        except NonFiniteLoss as error:
            if rank == 0:
                with Folder.at(job.folder).writing("non-finite-batch.pt") as path:
                    torch.save({"step": error.step, "batch": vars(error.batch)}, path)
            raise
        finally:
            if logger is not None:
                logger.close()
                if logger.lost:
                    job.board.post.remote({"unsent": f"{logger.lost} numbers, in {unsent}"})
    if rank == 0 and not ray.get(job.board.stop_wanted.remote()):
        _store_bundle(model, Folder.at(job.folder))


def perceptual_of(loss: LossConfig) -> PerceptualDistance | None:
    """The network of `loss.perceptual`; None where the term is left out.

    Raises IcfaceError when its weights cannot be had.
    """
    return perceptual_distance(loss.perceptual_network, loss.perceptual_weights) if loss.perceptual else None


def describe(config: TrainConfig, dataset: Dataset, start: BundleConfig | None = None) -> BundleConfig:
    """What the bundle of a training on `dataset`, which may begin with the model of `start`, says of itself.

    Raises IcfaceError when the data set's pictures are smaller than the model's.
    """
    if dataset.size < config.model.size:
        raise IcfaceError(
            f"{dataset.url} holds pictures of {dataset.size} px and the model wants {config.model.size}: train with "
            f"--model.size {dataset.size}, or preprocess with --size {config.model.size}"
        )
    groups = dataset.row_groups("train")
    described = BundleConfig(
        model=config.model,
        schema=dataset.schema if start is None else starting_schema(dataset.schema, start.schema)[0],
        crop_rule=dataset.crop_rule.to_json(),
        analyzer=dataset.analyzer,
        baselines=config.data.baselines,
        licence=dataset.licence,
        training={
            "config": config.to_json(),
            "steps": config.steps,
            "batch": config.data.batch,
            "dataset_hash": dataset.hash,
            "sources": list(dataset.meta["sources"]),
            "frames": sum(group.rows for group in groups),
            "identities": len({group.identity for group in groups}),
        },
    )
    return described if start is None else inherited(described, start)


def _hooks(job: RankJob, rank: int, logger: RunLogger | None) -> Hooks:
    def checkpoint(step: int, save: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="icface-checkpoint-") as folder:
            kept = None
            if rank == 0:
                save(Path(folder))
                kept = ray.train.Checkpoint.from_directory(folder)
            # Every rank reports: Ray Train waits for all of them.
            ray.train.report({"step": step}, checkpoint=kept, checkpoint_dir_name=f"checkpoint_{step:08d}")
        if rank == 0:
            job.board.post.remote({"checkpoint": step})

    if logger is None:
        return Hooks(on_checkpoint=checkpoint)

    def log(step: int, numbers: dict[str, float]) -> None:
        job.board.post.remote({"step": step, **numbers})
        extra = {}
        if job.gpu:
            extra["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        logger.numbers(step, {name: value for name, value in (numbers | extra).items() if name != "seconds_left"})

    def images(step: int, grid: np.ndarray) -> None:
        logger.picture(step, grid)

    return Hooks(on_log=log, on_images=images, on_checkpoint=checkpoint, should_stop=_StopWanted(job.board))


class _StopWanted:
    """Asks the board without waiting for its answer: the last answer that came counts."""

    def __init__(self, board: Any) -> None:
        self.board = board
        self.asked: Any = None

    def __call__(self) -> bool:
        if self.asked is None:
            self.asked = self.board.stop_wanted.remote()
            return False
        ready, _ = ray.wait([self.asked], timeout=0)
        if not ready:
            return False
        answer = bool(ray.get(self.asked))
        self.asked = None
        return answer


def _store_bundle(model: Any, folder: Folder) -> None:
    """Put the bundle into the run's folder, locally in one rename, elsewhere file by file with config.json last."""
    if folder.local:
        save_bundle(model, folder.path(BUNDLE))
        return
    with tempfile.TemporaryDirectory(prefix="icface-bundle-") as temporary:
        path = Path(temporary) / BUNDLE
        save_bundle(model, path)
        for name in ("README.md", "model.safetensors", "config.json"):
            folder.write(f"{BUNDLE}/{name}", (path / name).read_bytes())
