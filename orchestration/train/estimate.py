"""What a training will take on this machine, before it starts."""

import os
from dataclasses import dataclass, replace

import torch

from icface.training.config import TrainConfig
from icface.training.trial_steps import StepCost, step_cost
from orchestration.config import TrainJob
from orchestration.terminal import duration
from orchestration.train.bundle_config import make_bundle_config
from orchestration.train.checkpoint_store import KEPT
from orchestration.train.waiting import check_gpus
from pipelines.loading.mixture import Mixture

DAY = 86_400
LONG = DAY / 2
"""Seconds from which another preset is named."""
WORTH_IT = 100
"""Steps from which the start of a training says how long it will take: measuring costs three."""
FITS_A_CPU = "small"
OFF = 1.3
"""Times the forecast from which a training that takes longer says so."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a whole training, from three steps of one process."""

    cost: StepCost
    steps: int
    device: str

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.cost.seconds * self.steps

    @property
    def disk_bytes(self) -> int:
        """Of the checkpoints that are kept, one that is being written, and the bundle."""
        return (KEPT + 1) * self.cost.checkpoint_bytes + self.cost.bundle_bytes

    def facts(self) -> dict[str, object]:
        """For a command's result."""
        return {
            "device": self.device,
            "parameters": f"{self.cost.parameters / 1e6:.2f} million",
            "seconds_a_step_about": float(f"{self.cost.seconds:.3g}"),
            "steps_a_day_about": round(DAY / self.cost.seconds),
            "all_steps_about": f"{duration(self.seconds)} for {self.steps} steps",
            "memory_of_a_process_gib": round(self.cost.memory_bytes / 2**30, 2),
            "checkpoint_mib": round(self.cost.checkpoint_bytes / 2**20, 1),
            "bundle_mib": round(self.cost.bundle_bytes / 2**20, 1),
            "disk_mib": round(self.disk_bytes / 2**20, 1),
        }


def estimate(job: TrainJob, config: TrainConfig | None = None) -> Estimate:
    """Train three steps with what one process of `job` would have. Raises IcfaceError as the training would."""
    config = config or job.training
    dataset = Mixture.open(job.dataset, job.mixed_with)
    bundle_config = make_bundle_config(config, dataset)
    if job.gpu:
        check_gpus(job, torch.cuda.device_count())
    device = "cuda" if job.gpu else "cpu"
    workers = job.worker_range[1]
    before = torch.get_num_threads()
    threads = max(1, (os.cpu_count() or 1) // workers)
    torch.set_num_threads(threads)
    try:
        # Compiling takes longer than all that is measured here.
        config = replace(config, compile="never")
        identities = int(bundle_config.training["identities"])
        cost = step_cost(config, bundle_config, config.data.batch_size // workers, identities, device)
    finally:
        torch.set_num_threads(before)
    name = torch.cuda.get_device_name() if job.gpu else f"CPU, {threads} thread{'s' if threads > 1 else ''} a process"
    return Estimate(cost=cost, steps=config.steps, device=name)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is said of the time of a training before it starts."""

    line: str
    seconds: float
    """Of the whole training, at the speed that the machine had when it was asked."""

    def corrected(self, step: int, elapsed: float, seconds_left: float) -> str | None:
        """What is said once steps were measured, if the forecast was far off.

        `elapsed` and `seconds_left`: since the first step was begun and to the last one, at `step` steps.
        """
        total = elapsed + seconds_left
        if total < OFF * self.seconds:
            return None
        return (
            f"measured now, after {step} steps: {duration(seconds_left)} left, {duration(total)} in all. The "
            f"{duration(self.seconds)} said before were measured on three steps"
        )


def forecast(job: TrainJob) -> Forecast | None:
    """How long a training on this machine's CPU will take, and which preset fits it better; None where that is soon
    seen.
    """
    if job.gpu or job.resume or job.address != "local" or job.training.steps < WORTH_IT:
        return None
    found = estimate(job)
    line = (
        f"about {duration(found.seconds)} if this machine stays as busy as it is now: {job.training.steps} steps of "
        f"{found.cost.seconds:.2g} s; after a minute the time left is that of the steps that were measured"
    )
    if found.seconds >= LONG and job.preset != FITS_A_CPU:
        small = TrainConfig.preset(FITS_A_CPU)
        fits = estimate(job, small)
        line += (
            f"; --preset {FITS_A_CPU} fits a CPU: {small.model.size} px, {small.steps} steps, about "
            f"{duration(fits.seconds)}"
        )
    return Forecast(line=line, seconds=found.seconds)
