"""What each rank of a training does: read its slice of the batches, run `fit`, tell the driver and MLflow."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from icface.bundle import ICface
from icface.errors import IcfaceError, first_line
from icface.training.critic import make_critic
from icface.training.distributed import any_rank, from_first_rank
from icface.training.finite import NonFiniteLoss
from icface.training.fit import TrainingData, fit
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.phases_of_ranks import Whereabouts
from orchestration.train.rank_hooks import NodeGoes, StorageFailed, hooks_of, raise_on_all, ranks_to_go
from orchestration.train.rank_job import RankJob
from orchestration.train.run_logging import close_logger, open_logger
from orchestration.train.stored_bundles import of_step, store_bundle, store_for_evaluation
from pipelines.loading.mixture import Mixture
from pipelines.loading.pairs import PairBatches
from pipelines.loading.validation_frames import validation_frames
from pipelines.storage import Folder

CALIBRATION_STEPS = 16
"""Batches on which the batch norms of the averaged weights are estimated again."""

OVER = -1
"""Said by rank 0 in place of a first step: the training is given up."""


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
        logger = writer = None
        if rank == 0:
            writer = BackgroundWriter(checkpoints, lambda step: job.coordinator.post.remote(checkpoint=step))
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
            hooks = hooks_of(job, checkpoints, writer, logger, device)
            with Whereabouts(job.coordinator, rank) as whereabouts:

                def phase(name: str, step: int) -> None:
                    whereabouts.begin(name, step)
                    hooks.on_phase(name, step)

                model = fit(
                    config,
                    bundle_config,
                    data,
                    hooks=replace(hooks, on_phase=phase, on_step=count),
                    device=device,
                    resume=resume,
                    init=ray.get(job.init) if job.init is not None else None,
                    critic=make_critic(config.loss, bundle_config, device),
                )
                raise_on_all(writer.wait() if writer is not None else None, device)
        except NonFiniteLoss as error:
            if error.here:
                with folder.writing(f"non-finite-batch-{rank}.pt") as path:
                    torch.save({"step": error.step, "batch": vars(error.batch)}, path)
            raise
        finally:
            # Whatever ended the training: the checkpoint that is being written now is the one to go on from.
            if writer is not None and (problem := writer.wait()) is not None:
                job.coordinator.post.remote(notice=str(problem))
            if logger is not None and (unsent := close_logger(logger, folder)) is not None:
                job.coordinator.post.remote(unsent=unsent)
    if last_step < config.steps:
        _raise_if_a_node_goes(job, rank, last_step, device)
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


def _raise_if_a_node_goes(job: RankJob, rank: int, step: int, device: torch.device) -> None:
    """Raise NodeGoes on every rank if the training ended after `step` for that, and not because somebody stopped it."""
    gone = ranks_to_go()
    (goes,) = any_rank(bool(gone), device=device)
    stopped = rank == 0 and ray.get(job.coordinator.stop_wanted.remote())
    if not goes or from_first_rank(int(stopped), device):
        return
    line = f"a node is about to be taken away: the training goes on from step {step} as soon as others have room"
    if rank == 0:
        ray.get(job.coordinator.post.remote(notice=line))
    raise NodeGoes(line)


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
