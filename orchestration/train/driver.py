"""Launching a training with Ray Train, and what becomes of it: a run in MLflow, a bundle, a registered version."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from mlflow.exceptions import MlflowException

from icface.analyzers.mediapipe_torch.task import load_task
from icface.bundle import BundleConfig, ICface, load_bundle
from icface.errors import IcfaceError
from icface.networks.features import perceptual_weights
from icface.training.config import PRESETS, LossConfig, TrainConfig
from icface.training.critic import why_no_critic
from icface.training.init_from import check_fits, init_schema
from orchestration.cluster.versions import commit, versions
from orchestration.config import TrainJob
from orchestration.registry import runs
from orchestration.registry.references import resolve
from orchestration.registry.run_models import note_model, noted_model
from orchestration.tracking import heartbeat, run_logger
from orchestration.train.bundle_config import check_trainable, make_bundle_config
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.evaluator import validation_pairs
from orchestration.train.launch import Launch, launch
from orchestration.train.progress import OnProgress, TrainingProgress
from orchestration.train.result import TrainResult, is_made, kept_model, record_bundle
from orchestration.train.run_folder import BUNDLE, TAKEN_AGAIN, UNSENT, RunRecord, run_folder
from orchestration.train.stored_bundles import made_steps
from orchestration.train.waiting import check_gpus
from pipelines.loading.mixture import Mixture
from pipelines.storage import Folder


def train(job: TrainJob, on_progress: OnProgress = lambda progress: None) -> TrainResult:
    """Train, and record, store and register the result.

    `on_progress` is told about twice a second how far it is. Ctrl-C writes a checkpoint and ends the training;
    `resume` goes on from it.

    Raises IcfaceError for a data set that cannot be trained on, and for a name that exists without `resume`. So it does
    for a resume that would change something, storage or tracking that a cluster cannot see, and a training that failed.
    """
    if job.address == "local" and not ray.is_initialized():
        check_gpus(job, torch.cuda.device_count())
    dataset = Mixture.open(job.dataset, job.mixed_with)
    for part in dataset.parts:
        check_trainable(job.training, part.dataset)
    name = job.name or f"{Path(dataset.url).name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = run_folder(job.storage, name)
    run_logger.check_reach(job.address)
    uri = run_logger.use_tracking()
    run_logger.experiment_id()  # told here, before any work, when nothing can be recorded
    for dead in heartbeat.mark_dead_runs():
        on_progress(TrainingProgress(stage=f"the run {dead} had died; MLflow has it as KILLED now"))
    earlier = RunRecord.read(folder) if job.resume else None
    begun = _begun(folder, job, earlier)
    init_from = job.init_from or (earlier.init_from if earlier else None)
    origin = _origin(init_from, job, dataset) if begun is None else None
    init = origin.model if origin is not None else None
    bundle_config = make_bundle_config(job.training, dataset, init.config if init is not None else begun)
    _fetch_weights(job.training.loss, bundle_config)  # told here, before anything is started, when they cannot be had
    pairs = validation_pairs(dataset.url) if job.evaluate_every else None
    init_from = origin.name if origin is not None else init_from
    record = _record(job, name, folder, dataset, init_from, origin, bundle_config)
    try:
        note_model(folder, bundle_config)
        with heartbeat.heartbeat(record.mlflow_run_id):
            done = is_made(folder, job)
            if not done:
                if origin is not None:
                    on_progress(TrainingProgress(stage=origin.told))
                if reason := why_no_critic(job.training.loss, bundle_config):
                    on_progress(TrainingProgress(stage=f"training without loss.critic: {reason}"))
                on_progress(TrainingProgress(stage="starting Ray"))
            ready = Launch(
                job=job,
                name=name,
                folder=folder,
                dataset=dataset,
                tracking_uri=uri,
                mlflow_run_id=record.mlflow_run_id,
                bundle_config=bundle_config,
                init=init,
                pairs=pairs,
            )
            progress = TrainingProgress() if done else launch(ready, on_progress)
            finished = done or is_made(folder, job)
            kept = kept_model(folder, job)
            if finished:
                on_progress(replace(progress, stage="recording the bundle"))
                number = record_bundle(job, folder, record, kept)
                _send_unsent(folder, record.mlflow_run_id)  # the server may be back since the ranks gave up
            else:
                number = None
                runs.end_run(record.mlflow_run_id, "KILLED")
    except BaseException as error:
        with suppress(IcfaceError):  # the error that is on its way says more
            runs.end_run(record.mlflow_run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    return TrainResult(
        name=name,
        run_id=record.mlflow_run_id,
        bundle=folder.absolute_path(BUNDLE) if finished else None,
        version=number,
        steps=min(made_steps(folder) or 0, job.training.steps) if finished else progress.step or 0,
        unsent=_still_unsent(progress.unsent, folder),
        metrics=progress.metrics,
        kept=kept,
    )


def _fetch_weights(loss: LossConfig, bundle_config: BundleConfig) -> None:
    """Have the weights of the frozen networks that judge the pictures in the cache; no network is built."""
    if loss.perceptual:
        perceptual_weights(loss.perceptual_network, loss.perceptual_weights)
    if loss.critic and why_no_critic(loss, bundle_config) is None:
        load_task()


def _begun(folder: Folder, job: TrainJob, earlier: RunRecord | None) -> BundleConfig | None:
    """What a run says of its model that began with another one, and has weights of its own by now.

    That other model may be gone. None where it is needed: for a run that is new or has no checkpoint yet.
    """
    if earlier is None or earlier.init_from is None or job.init_from not in (None, earlier.init_from):
        return None
    if Checkpoints(folder).newest() is None and not is_made(folder, job):
        return None
    try:
        return noted_model(folder)
    except FileNotFoundError:  # a run of version 0.1
        return None


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


def _origin(init_from: str | None, job: TrainJob, dataset: Mixture) -> _Origin | None:
    """Raises IcfaceError when there is no such model or its weights do not fit the configuration."""
    if init_from is None:
        return None
    reference = resolve(init_from)
    start = load_bundle(reference.folder)
    check_fits(job.training.model, start)
    _, changes = init_schema(dataset.training_schema(job.training.data.sides), start.schema)
    return _Origin(model=start, name=reference.pinned, changes=changes)


def _record(
    job: TrainJob,
    name: str,
    folder: Folder,
    dataset: Mixture,
    init_from: str | None,
    origin: _Origin | None,
    bundle_config: BundleConfig,
) -> RunRecord:
    """The run's record: the one that is there (`resume`) or a new one with a new MLflow run."""
    record = RunRecord.read(folder)
    config = job.training.to_json()
    if record is not None:
        if not job.resume:
            raise IcfaceError(
                f"the run {name} exists in {job.storage}: add --resume to go on, or choose another --name"
            )
        changed = record.check_same(config, dataset.hash, init_from)
        record = replace(record, config=config, job=_options(job, dataset))
        record.write(folder)
        if not runs.has_run(record.mlflow_run_id):
            facts = _facts(job, folder, dataset, bundle_config)
            return _continued(record, name, dataset, facts, folder, _parameters(job, dataset, init_from))
        heartbeat.check_free(record.mlflow_run_id)
        runs.end_run(record.mlflow_run_id, "RUNNING")
        runs.note_changes(record.mlflow_run_id, changed)
        _send_unsent(folder, record.mlflow_run_id)
        return record
    if job.resume:
        raise IcfaceError(f"there is no run {name} in {job.storage} to resume; leave --resume out to start it")
    facts = _facts(job, folder, dataset, bundle_config)
    parameters = _parameters(job, dataset, init_from)
    if origin is not None:
        facts["init_from_changes"] = "; ".join(origin.changes) or "none"
    record = RunRecord(
        config=config,
        dataset=dataset.url,
        dataset_hash=dataset.hash,
        mlflow_run_id=runs.start_run(name, parameters, facts, commit(), dataset),
        init_from=init_from,
        job=_options(job, dataset),
    )
    record.write(folder)
    return record


def _options(job: TrainJob, dataset: Mixture) -> dict[str, Any]:
    """What `--resume` alone takes again, beside the configuration; from any working directory."""
    return {name: getattr(job, name) for name in TAKEN_AGAIN} | {"mixed_with": dataset.others}


def _parameters(job: TrainJob, dataset: Mixture, init_from: str | None) -> dict[str, Any]:
    """A run's parameters: where the configuration comes from, then all of it."""
    named = {"preset": job.preset, "dataset": dataset.url, "workers": job.workers, "init_from": init_from or "none"}
    if dataset.others:
        named["with"] = " ".join(dataset.others)
    return {**named, **run_logger.flat(job.training.to_json())}


def _facts(job: TrainJob, folder: Folder, dataset: Mixture, bundle_config: BundleConfig) -> dict[str, Any]:
    """What a run's tags say of where it comes from."""
    return {
        "dataset": dataset.url,
        "dataset_hash": dataset.first.hash,
        "analyzer": dataset.analyzer["fingerprint"],
        **({"mixed_with": json.dumps(dataset.others_facts)} if dataset.others else {}),
        "licence": bundle_config.licence,
        "workers": job.workers,
        "checkpoints": folder.url,
        "changed_from_preset": ", ".join(_changed(job)) or "nothing",
        **versions(),
    }


def _changed(job: TrainJob) -> list[str]:
    """The fields that differ from the preset, as `name=value`."""
    if job.preset not in PRESETS:
        return []
    usual = run_logger.flat(TrainConfig.preset(job.preset).to_json())
    mine = run_logger.flat(job.training.to_json())
    return [f"{name}={value}" for name, value in mine.items() if usual[name] != value]


def _continued(
    record: RunRecord,
    name: str,
    dataset: Mixture,
    facts: dict[str, Any],
    folder: Folder,
    parameters: dict[str, Any],
) -> RunRecord:
    """A run's record with a new MLflow run, where the one that it began with is gone: its checkpoints are not."""
    facts = {"continues": record.mlflow_run_id, **facts}
    run_id = runs.start_run(name, parameters, facts, commit(), dataset)
    continued = replace(record, mlflow_run_id=run_id)
    continued.write(folder)
    return continued


def _send_unsent(folder: Folder, run_id: str) -> None:
    """What the tracking server did not take last time, now that it answers."""
    if folder.exists(UNSENT):
        with suppress(MlflowException, ValueError, KeyError):  # it stays where it is
            run_logger.send_again(run_id, folder.read(UNSENT))
            folder.remove(UNSENT)


def _still_unsent(words: str | None, folder: Folder) -> str | None:
    """What the server lacks, in the words of `close_logger`: numbers may be sent by now, and pictures are not kept."""
    if words is None or folder.exists(UNSENT):
        return words
    _, found, pictures = words.rpartition(", and ")
    return pictures if found else None
