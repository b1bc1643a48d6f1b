"""The training loop: batches in, a model out, in one process or on every rank of torch.distributed."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.networks.discriminator import Discriminator
from icface.training.batch import Batch, DeviceBatch
from icface.training.checkpoint import load_state, save_state
from icface.training.config import OptimiserConfig, TrainConfig
from icface.training.distributed import (
    any_rank,
    average_gradients,
    average_statistics,
    broadcast_parameters,
    mean_over_ranks,
    world,
)
from icface.training.ema import AveragedModel, estimate_batch_norms
from icface.training.init_from import init_from
from icface.training.losses import AttributeLoss, Losses
from icface.training.phases import Networks, Phase, Step
from icface.training.validation import RealFrames, validate

Metrics = dict[str, float]


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a training tells whoever runs it. All are called on every rank, between two steps."""

    on_log: Callable[[int, Metrics], None] = _ignore
    """(steps done, metrics): losses averaged since the last call, `images_per_second`, `seconds_left`."""
    on_images: Callable[[int, npt.NDArray[np.uint8]], None] = _ignore
    """(steps done, sample grid (H, W, 3) uint8 RGB)."""
    on_checkpoint: Callable[[int, Callable[[Path], None]], None] = _ignore
    """(steps done, save): `save(folder)` writes the state of the training into a folder."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after each step; a yes on any rank writes a checkpoint and ends the training on all."""


class NonFiniteLoss(IcfaceError):
    """A loss term became infinite or not a number on some rank; every rank raises it, with its slice of the batch."""

    def __init__(self, step: int, terms: Mapping[str, float], batch: Batch, here: bool = True) -> None:
        bad = ", ".join(name for name, value in terms.items() if not np.isfinite(value))
        super().__init__(
            f"step {step}: the loss {bad} is not finite; lower the learning rates (--optimiser.generator-lr, "
            f"--optimiser.discriminator-lr) or train in float32 (--precision float32)"
        )
        self.step = step
        self.batch = batch
        self.here = here
        """Whether it happened on this rank's slice."""


@dataclass(kw_only=True)
class Training:
    """The state of a running training."""

    config: TrainConfig
    model: ICface
    average: AveragedModel
    discriminator: Discriminator
    phases: list[Phase]
    networks: Networks
    optimisers: dict[str, torch.optim.Optimizer]
    device: torch.device
    warmup: int = 0
    """Steps in which the discriminator learns alone."""
    steps_done: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return {
            "steps_done": self.steps_done,
            "config": self.config.to_json(),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "heard": self.networks.losses.attribute_mask,
            "warmup": self.warmup,
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.networks.losses.attribute_mask.copy_(state["heard"])
        self.warmup = state["warmup"]
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.steps_done = state["steps_done"]

    def step(self, batch: Batch) -> None:
        """Run every phase that is due on one batch (this rank's slice of it)."""
        config, number = self.config, self.steps_done
        rank, ranks = world()
        # Dropout and noise depend on (seed, step) alone, so nothing of the generator has to be stored.
        torch.manual_seed(hash((config.seed, number, rank)) % 2**63)
        if len(batch) % config.accumulate:
            raise IcfaceError(
                f"each rank has {len(batch)} pairs a step, which --accumulate {config.accumulate} does not part evenly"
            )
        on_device = batch.to(self.device, self.networks.losses.attribute_loss.trained)
        noise = _noise(config, number, on_device, rank, ranks)
        steps = [
            Step(
                number, part, noise if isinstance(noise, float) else noise[index * len(part) : (index + 1) * len(part)]
            )
            for index, part in enumerate(on_device.parts(config.accumulate))
        ]
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * _rate(config, number)
        terms: dict[str, Tensor] = {}
        for phase in self.phases:
            if number % phase.interval == 0 and (number >= self.warmup or phase.networks == ("discriminator",)):
                terms |= self._run(phase, steps, batch)
        for name, value in terms.items():
            self.totals.setdefault(name, torch.zeros(2, device=self.device))
            self.totals[name] += torch.stack([value, torch.ones((), device=self.device)])
        average_statistics(self.model)
        self.average.update(self.model, number)
        self.steps_done += 1

    def _run(self, phase: Phase, steps: list[Step], batch: Batch) -> dict[str, Tensor]:
        """One phase on the parts of this rank's share; returns the terms' means over the parts."""
        learners = self.networks.learners
        for name, network in learners.items():
            network.requires_grad_(name in phase.networks)
        parameters = [parameter for name in phase.networks for parameter in learners[name].parameters()]
        optimisers = [self.optimisers[name] for name in phase.networks]
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        totals: Tensor | None = None
        for step in steps:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                terms = phase.terms(step)
            values = torch.stack([term.float() for term in terms.values()]) / len(steps)
            means = mean_over_ranks(values)
            # Before the backward: a flow that is not a number crashes the process in grid_sample's.
            if not bool(means.isfinite().all()):
                here = not bool(values.isfinite().all())
                raise NonFiniteLoss(step.number, dict(zip(terms, means.tolist(), strict=True)), batch, here)
            values.sum().backward()
            totals = means if totals is None else totals + means
        assert totals is not None
        average_gradients(parameters)
        if self.config.optimiser.grad_clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.config.optimiser.grad_clip_norm)
        for optimiser in optimisers:
            optimiser.step()
        return dict(zip(terms, totals, strict=True))

    def metrics(self) -> Metrics:
        """The loss terms' means over ranks and over the steps since the last call."""
        means = {name: (total[0] / total[1]).item() for name, total in self.totals.items()}
        self.totals.clear()
        return means


def fit(
    config: TrainConfig,
    bundle_config: BundleConfig,
    batches: Iterable[Batch],
    *,
    identities: int,
    deviations: npt.NDArray[np.float32],
    hooks: Hooks | None = None,
    device: torch.device | str = "cpu",
    resume: Path | None = None,
    perceptual: nn.Module | None = None,
    validation: RealFrames | None = None,
    calibration: Iterable[Batch] = (),
    start: ICface | None = None,
) -> ICface:
    """Train and return the model with the averaged weights, on the CPU in eval mode.

    Args:
        config: the training.
        bundle_config: what the model's bundle will say of itself; its `model` and `schema` are built.
        batches: this rank's slice of each step's batch, beginning with the first step not yet done.
        identities: number of training identities.
        deviations: (n,) standard deviation of each coded attribute over the training frames.
        hooks: called as the training goes.
        device: where to train.
        resume: folder of a checkpoint to go on from.
        perceptual: distance of two pictures in features, for `loss.perceptual`.
        validation: real frames that are not trained on, the same on every rank, looked at every `validate_every`
            steps. With them an attribute that D does not read yet teaches no generator (`loss.readable_from`).
        calibration: this rank's slices of some batches, on which the batch norms of the averaged weights are
            estimated anew at the end; a model without batch norms needs none.
        start: a model whose weights the training begins with; see `icface.training.init_from`.

    Raises:
        NonFiniteLoss: a loss term is infinite or not a number.
        IcfaceError: the batches end before the steps do, or the checkpoint is of another model.
    """
    hooks = hooks or Hooks()
    training = prepare(config, bundle_config, identities, deviations, torch.device(device), perceptual, start)
    if validation is not None:
        validation = validation.to(training.device)
        training.networks.losses.attribute_mask.fill_(float(config.loss.readable_from == 0))
    if resume is not None:
        training.load(load_state(resume))
    sample: DeviceBatch | None = None
    started, first = time.monotonic(), training.steps_done
    saved = started
    iterator = iter(batches)
    while training.steps_done < config.steps:
        batch = next(iterator, None)
        if batch is None:
            raise IcfaceError(f"the data ended after {training.steps_done} of {config.steps} steps")
        if sample is None:
            sample = batch.to(training.device)
        training.step(batch)
        done = training.steps_done
        last = done == config.steps
        late = time.monotonic() - saved > 60 * config.checkpoint_minutes
        stop, late = any_rank(hooks.should_stop(), late, device=training.device)
        if done % config.log_every == 0 or last:
            seconds = (time.monotonic() - started) / (done - first)
            metrics = training.metrics()
            metrics["images_per_second"] = len(batch) * world()[1] / seconds
            metrics["seconds_left"] = seconds * (config.steps - done)
            hooks.on_log(done, metrics)
        if validation is not None and (done % config.validate_every == 0 or last):
            found = validate(training.average.model, training.discriminator, validation)
            training.networks.losses.attribute_mask.copy_(found.reliable_attributes(config.loss.readable_from))
            hooks.on_log(done, found.metrics(bundle_config.schema))
        if done % config.images_every == 0 or last:
            hooks.on_images(done, sample_grid(training.average.model, sample))
        if done % config.checkpoint_every == 0 or last or stop or late:
            hooks.on_checkpoint(done, lambda folder: save_state(folder, training.state()))
            saved = time.monotonic()
        if stop:
            break
    estimate_batch_norms(training.average.model, calibration, training.device)
    return training.average.model.cpu().eval()


def prepare(
    config: TrainConfig,
    bundle_config: BundleConfig,
    identities: int,
    deviations: npt.NDArray[np.float32],
    device: torch.device,
    perceptual: nn.Module | None = None,
    start: ICface | None = None,
) -> Training:
    """Build networks, losses and optimisers; every rank begins with the same weights, those of `start` if given."""
    torch.manual_seed(config.seed)
    schema: AttributeSchema = bundle_config.schema
    model = ICface(bundle_config)
    if start is not None:
        init_from(model, start)
    model = model.to(device).train()
    discriminator = Discriminator(config.model, len(schema), identities).to(device).train()
    for network in (model, discriminator):
        for parameter in network.parameters():
            if parameter.dim() == 4:  # convolutions run faster in this order
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        broadcast_parameters(network)
    model.keep_untrained_silent()
    average = AveragedModel(model, config.optimiser.ema_halflife)  # without SyncBatchNorm, which refuses CPU tensors
    if device.type == "cuda" and world()[1] > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    attribute_loss = AttributeLoss(
        config.loss.attribute_error,
        torch.as_tensor(deviations, device=device),
        torch.as_tensor(schema.trained, device=device),
    )
    if perceptual is not None:
        perceptual = perceptual.to(device).eval().requires_grad_(False)
    networks = Networks(
        config,
        model,
        discriminator,
        Losses(config.loss, attribute_loss, perceptual),
        torch.as_tensor(schema.neutral_encoded(), device=device)[None],
    )
    return Training(
        config=config,
        model=model,
        average=average,
        discriminator=discriminator,
        phases=networks.phases(),
        networks=networks,
        optimisers={name: _optimiser(config.optimiser, name, network) for name, network in networks.learners.items()},
        device=device,
        warmup=0 if start is None else round(config.optimiser.warmup * config.steps),
    )


def _optimiser(config: OptimiserConfig, name: str, network: nn.Module) -> torch.optim.Optimizer:
    rate = config.discriminator_lr if name == "discriminator" else config.generator_lr
    groups = [{"params": list(network.parameters()), "lr": rate, "initial_lr": rate}]
    if config.name == "adam":
        return torch.optim.Adam(groups, betas=(0.5, 0.99), fused=True)
    if name == "encoder":
        return torch.optim.Adam(groups, betas=(0.5, 0.999), fused=True)
    return torch.optim.RMSprop(groups, alpha=0.99, foreach=True)


def _rate(config: TrainConfig, number: int) -> float:
    done = number / config.steps
    start = config.optimiser.decay_from
    return 1.0 if done < start else (1 - done) / (1 - start)


def _noise(config: TrainConfig, number: int, batch: Batch, rank: int, ranks: int) -> Tensor | float:
    if not config.loss.neutral_noise:
        return 0.0
    # Drawn for the whole batch and sliced, so that the number of ranks changes nothing.
    device = batch.source.device
    generator = torch.Generator(device).manual_seed(hash((config.seed, number)) % 2**63)
    noise = torch.randn((ranks, *batch.source.shape), generator=generator, device=device)[rank]
    return noise * (config.loss.neutral_noise / 127.5)


@torch.no_grad()
def sample_grid(model: ICface, batch: DeviceBatch, rows: int = 6) -> npt.NDArray[np.uint8]:
    """Up to `rows` rows of source, neutral, animated, driving: (rows * S, 4 * S, 3) uint8 RGB."""
    source, driving = batch.source[:rows], batch.driving[:rows]
    neutral = model.neutralise(source, batch.source_encoded[:rows])
    animated = model.generator(neutral, batch.driving_encoded[:rows])
    pictures = torch.stack([source, neutral, animated, driving], dim=1)  # (R, 4, 3, S, S)
    count, columns, _, height, width = pictures.shape
    grid = pictures.permute(0, 3, 1, 4, 2).reshape(count * height, columns * width, 3)
    return ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
