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
from icface.training.averaging import AveragedModel
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
from icface.training.losses import AttributeLoss, Losses
from icface.training.phases import Networks, Phase, Step

Numbers = dict[str, float]


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a training tells whoever runs it. All are called on every rank, between two steps."""

    on_log: Callable[[int, Numbers], None] = _ignore
    """(steps done, numbers): losses averaged since the last call, `images_per_second`, `seconds_left`."""
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
            f"step {step}: the loss {bad} is not finite; lower the learning rates (--optimiser.generator-rate, "
            f"--optimiser.discriminator-rate) or train in float32 (--precision float32)"
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
    steps_done: int = 0
    totals: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return {
            "steps_done": self.steps_done,
            "config": self.config.to_json(),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.steps_done = state["steps_done"]

    def step(self, batch: Batch) -> None:
        """Run every phase that is due on one batch (this rank's slice of it)."""
        config, number = self.config, self.steps_done
        rank, ranks = world()
        # Dropout and noise depend on (seed, step) alone, so nothing of the generator has to be stored.
        torch.manual_seed(hash((config.seed, number, rank)) % 2**63)
        on_device = batch.to(self.device)
        step = Step(number, on_device, _noise(config, number, on_device, rank, ranks))
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * _rate(config, number)
        terms: dict[str, Tensor] = {}
        for phase in self.phases:
            if number % phase.interval == 0:
                terms |= self._run(phase, step, batch)
        for name, value in terms.items():
            self.totals.setdefault(name, torch.zeros(2, device=self.device))
            self.totals[name] += torch.stack([value, torch.ones((), device=self.device)])
        average_statistics(self.model)
        self.average.update(self.model, number)
        self.steps_done += 1

    def _run(self, phase: Phase, step: Step, batch: Batch) -> dict[str, Tensor]:
        learning = [getattr(self.networks, name) for name in phase.networks]
        for network in (self.networks.neutraliser, self.networks.generator, self.networks.discriminator):
            network.requires_grad_(any(network is other for other in learning))
        parameters = [parameter for network in learning for parameter in network.parameters()]
        optimisers = [self.optimisers[name] for name in phase.networks]
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            terms = phase.terms(step)
        values = torch.stack([term.float() for term in terms.values()])
        means = mean_over_ranks(values)
        # Before the backward: a flow that is not a number crashes the process in grid_sample's.
        if not bool(means.isfinite().all()):
            here = not bool(values.isfinite().all())
            raise NonFiniteLoss(step.number, dict(zip(terms, means.tolist(), strict=True)), batch, here)
        values.sum().backward()
        average_gradients(parameters)
        if self.config.optimiser.clip:
            nn.utils.clip_grad_norm_(parameters, self.config.optimiser.clip)
        for optimiser in optimisers:
            optimiser.step()
        return dict(zip(terms, means, strict=True))

    def numbers(self) -> Numbers:
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

    Raises:
        NonFiniteLoss: a loss term is infinite or not a number.
        IcfaceError: the batches end before the steps do, or the checkpoint is of another model.
    """
    hooks = hooks or Hooks()
    training = prepare(config, bundle_config, identities, deviations, torch.device(device), perceptual)
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
            numbers = training.numbers()
            numbers["images_per_second"] = len(batch) * world()[1] / seconds
            numbers["seconds_left"] = seconds * (config.steps - done)
            hooks.on_log(done, numbers)
        if done % config.images_every == 0 or last:
            hooks.on_images(done, sample_grid(training.average.model, sample))
        if done % config.checkpoint_every == 0 or last or stop or late:
            hooks.on_checkpoint(done, lambda folder: save_state(folder, training.state()))
            saved = time.monotonic()
        if stop:
            break
    return training.average.model.cpu().eval()


def prepare(
    config: TrainConfig,
    bundle_config: BundleConfig,
    identities: int,
    deviations: npt.NDArray[np.float32],
    device: torch.device,
    perceptual: nn.Module | None = None,
) -> Training:
    """Build networks, losses and optimisers; every rank begins with the same weights."""
    torch.manual_seed(config.seed)
    schema: AttributeSchema = bundle_config.schema
    model = ICface(bundle_config).to(device).train()
    discriminator = Discriminator(config.model, len(schema), identities).to(device).train()
    for network in (model, discriminator):
        for parameter in network.parameters():
            if parameter.dim() == 4:  # convolutions run faster in this order
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        broadcast_parameters(network)
    average = AveragedModel(model, config.optimiser.ema_halflife)  # without SyncBatchNorm, which refuses CPU tensors
    if device.type == "cuda" and world()[1] > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    attribute_loss = AttributeLoss(
        config.loss.recipe,
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
        torch.as_tensor(schema.neutral_code(), device=device)[None],
    )
    return Training(
        config=config,
        model=model,
        average=average,
        discriminator=discriminator,
        phases=networks.phases(),
        networks=networks,
        optimisers={
            "neutraliser": _optimiser(config.optimiser, model.neutraliser, config.optimiser.generator_rate),
            "generator": _optimiser(config.optimiser, model.generator, config.optimiser.generator_rate),
            "discriminator": _optimiser(config.optimiser, discriminator, config.optimiser.discriminator_rate),
        },
        device=device,
    )


def _optimiser(config: OptimiserConfig, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    groups = [{"params": list(network.parameters()), "lr": rate, "initial_lr": rate}]
    if config.name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=0.99)
    return torch.optim.Adam(groups, betas=(0.5, 0.99), fused=True)


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
    neutral_code = torch.as_tensor(model.schema.neutral_code(), device=batch.source.device)
    source, driving = batch.source[:rows], batch.driving[:rows]
    neutral = model.neutraliser(source, neutral_code.expand(len(source), -1))
    animated = model.generator(neutral, batch.driving_code[:rows])
    pictures = torch.stack([source, neutral, animated, driving], dim=1)  # (R, 4, 3, S, S)
    count, columns, _, height, width = pictures.shape
    grid = pictures.permute(0, 3, 1, 4, 2).reshape(count * height, columns * width, 3)
    return ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
