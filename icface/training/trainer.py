"""A training: networks, losses and optimisers, and what one step does with a batch."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.networks.discriminator import Discriminator
from icface.pixels import HALF
from icface.training.batch import Batch
from icface.training.compiling import compiler_errors_in_words, for_device
from icface.training.config import OptimiserConfig, TrainConfig
from icface.training.critic import Critic
from icface.training.distributed import RanksMean, average_statistics, broadcast_parameters, mean_over_ranks, world
from icface.training.ema import AveragedModel
from icface.training.finite import DeferredCheck, NonFiniteLoss
from icface.training.fused_adam import FusedAdam
from icface.training.graphs import Given, Outcomes, StepGraphs, can_record
from icface.training.init_from import init_from
from icface.training.losses import AttributeLoss, Losses
from icface.training.memory import keep_freed_memory
from icface.training.operations import OperationCounter
from icface.training.phases import Networks, Phase, Step
from icface.training.seeds import seed_of

Metrics = dict[str, float]


@dataclass
class _Update:
    """A phase whose backwards have run and whose optimisers have not."""

    phase: Phase
    names: tuple[str, ...]
    """Of the phase's loss terms."""
    own: Tensor
    """(terms,) on this rank."""
    means: Tensor
    """(terms,) over the ranks, once `averaging` has ended."""
    gradients: list[Tensor]
    averaging: RanksMean


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
    check: DeferredCheck | None = None
    """On a GPU: what is not finite is found without waiting for it. None looks before each backward."""
    operations: OperationCounter | None = None
    """Counts what steps compute; None counts nothing."""
    graphs: StepGraphs | None = None
    """On one GPU: replays what was recorded of a step like this one."""
    totals: dict[tuple[str, ...], tuple[Tensor, int]] = field(default_factory=dict)
    """By the names of a phase's terms: their sums on the device since the last `metrics`, and of how many steps."""

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to go on; `load` reads it."""
        return {
            "steps_done": self.steps_done,
            "config": self.config.to_json(),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "heard": self.networks.losses.attribute_mask,
            "warmup": self.warmup,
            "optimisers": {name: _plain_state(optimiser) for name, optimiser in self.optimisers.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.networks.losses.attribute_mask.copy_(state["heard"])
        self.warmup = state["warmup"]
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.steps_done = state["steps_done"]

    def step(self, batch: Batch) -> None:
        """Run every phase that is due on one batch (this rank's slice of it).

        Raises IcfaceError when `accumulate` does not divide the slice, or torch.compile fails.
        """
        config, number = self.config, self.steps_done
        rank, ranks = world()
        # Dropout and noise depend on (seed, step) alone, so nothing of the generator has to be stored.
        torch.manual_seed(seed_of(config.seed, number, rank))
        if len(batch) % config.accumulate:
            raise IcfaceError(
                f"each rank has {len(batch)} pairs a step, which --accumulate {config.accumulate} does not part evenly"
            )
        self._set_rates(rate_factor(config, number))
        due = [phase for phase in self.phases if self._is_due(phase)]
        given = Given(
            batch,
            _noise(config, number, batch.source.shape, self.device, rank, ranks),
            self.networks.pseudo_ramp(number),
        )
        names = tuple(phase.name for phase in due)
        kind = (names, *self.networks.kind(number))
        compiled = self.config.compile == "always"
        with (
            self.operations.counting(kind) if self.operations is not None else nullcontext(),
            compiler_errors_in_words() if compiled else nullcontext(),
        ):
            if self.graphs is None:
                outcomes = self._run(due, given)
            else:
                outcomes = self.graphs.run(names, given, lambda given: self._run(due, given))
        for terms, means in outcomes:
            total, count = self.totals.get(terms, (torch.zeros_like(means), 0))
            self.totals[terms] = total + means, count + 1
        if self.check is not None:
            self.check.end_step(number, batch)
        average_statistics(self.model)
        self.average.update(self.model, number)
        self.steps_done += 1

    def _set_rates(self, factor: float) -> None:
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                rate = group["initial_lr"] * factor
                if isinstance(group["lr"], Tensor):  # a recorded step reads it there
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _is_due(self, phase: Phase) -> bool:
        if self.steps_done % phase.interval:
            return False
        return self.steps_done >= self.warmup or phase.networks == ("discriminator",)

    def _run(self, phases: Sequence[Phase], given: Given) -> Outcomes:
        """All that the device does in a step: the phases' backwards and optimisers, in order."""
        on_device = given.batch.to(self.device, self.networks.losses.attribute_loss.trained)
        steps = []
        for index, part in enumerate(on_device.parts(self.config.accumulate)):
            noise = given.noise
            if isinstance(noise, Tensor):
                noise = noise[index * len(part) : (index + 1) * len(part)]
            steps.append(Step(self.steps_done, part, noise, given.ramp))
        outcomes: Outcomes = []
        update: _Update | None = None
        for phase in phases:
            if update is not None and not phase.overlaps:
                outcomes.append(self._apply(update))
                update = None
            following = self._backward(phase, steps, given.batch)
            if update is not None:
                outcomes.append(self._apply(update))
            update = following
        if update is not None:
            outcomes.append(self._apply(update))
        return outcomes

    def _backward(self, phase: Phase, steps: Sequence[Step], batch: Batch) -> _Update:
        """One phase's backwards on the parts of this rank's share; the all-reduce of its gradients begins."""
        learners = self.networks.learners
        for name, network in learners.items():
            network.requires_grad_(name in phase.networks)
        for name in phase.networks:
            self.optimisers[name].zero_grad(set_to_none=True)
        names: tuple[str, ...] = ()
        own: list[Tensor] = []
        means: list[Tensor] = []
        for step in steps:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                terms = phase.terms(step)
            names = tuple(terms)
            values = torch.stack([term.float() for term in terms.values()]) / len(steps)
            own.append(values.detach())
            if self.check is None:
                means.append(mean_over_ranks(values))
                # Before the backward: a flow that is not a number crashes the process in the CPU's grid_sample.
                if not bool(means[-1].isfinite().all()):
                    here = not bool(values.isfinite().all())
                    raise NonFiniteLoss(step.number, dict(zip(names, means[-1].tolist(), strict=True)), batch, here)
            values.sum().backward()
        parameters = [parameter for name in phase.networks for parameter in learners[name].parameters()]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = torch.stack(own).sum(dim=0)
        if self.check is None:
            return _Update(phase, names, total, torch.stack(means).sum(dim=0), gradients, RanksMean(gradients))
        mean = total.clone()  # travels with the gradients
        return _Update(phase, names, total, mean, gradients, RanksMean([*gradients, mean]))

    def _apply(self, update: _Update) -> tuple[tuple[str, ...], Tensor]:
        """One phase's optimiser steps."""
        update.averaging.wait()
        optimisers = [self.optimisers[name] for name in update.phase.networks]
        if self.check is not None:
            self.check.see(update.phase.name, update.names, update.means, update.own, update.gradients)
        if self.config.optimiser.grad_clip_norm:
            learners = self.networks.learners
            parameters = [parameter for name in update.phase.networks for parameter in learners[name].parameters()]
            nn.utils.clip_grad_norm_(parameters, self.config.optimiser.grad_clip_norm)
        if self.check is not None:
            self.check.hold_back(optimisers)
        for optimiser in optimisers:
            optimiser.step()
        return update.names, update.means

    def settle(self) -> None:
        """Wait until all steps are known to have been finite. Raises NonFiniteLoss when one was not."""
        if self.check is not None:
            self.check.settle()

    def metrics(self) -> Metrics:
        """The loss terms' means over ranks and over the steps since the last call."""
        self.settle()
        if not self.totals:
            return {}
        names = [name for phase in self.totals for name in phase]
        means = torch.cat([total / count for total, count in self.totals.values()])
        self.totals.clear()
        return dict(zip(names, means.tolist(), strict=True))  # the host waits once for all of them


def prepare(
    config: TrainConfig,
    bundle_config: BundleConfig,
    identities: int,
    deviations: npt.NDArray[np.float32],
    device: torch.device,
    perceptual: nn.Module | None = None,
    start: ICface | None = None,
    critic: Critic | None = None,
) -> Training:
    """Build networks, losses and optimisers; every rank begins with the same weights, those of `start` if given."""
    config = for_device(config, device)
    if device.type == "cpu":
        keep_freed_memory()
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
        critic,
    )
    check = DeferredCheck(device) if device.type == "cuda" else None
    optimisers = {name: _optimiser(config.optimiser, name, network) for name, network in networks.learners.items()}
    return Training(
        config=config,
        model=model,
        average=average,
        discriminator=discriminator,
        phases=networks.phases(),
        networks=networks,
        optimisers=optimisers,
        device=device,
        check=check,
        graphs=StepGraphs(optimisers, check, device) if check is not None and can_record(config) else None,
        warmup=0 if start is None else round(config.optimiser.warmup * config.steps),
    )


def _plain_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state with its rates as numbers, wherever they are kept."""
    state = optimiser.state_dict()
    for group in state["param_groups"]:
        group["lr"] = float(group["lr"])
    return state


def _optimiser(config: OptimiserConfig, name: str, network: nn.Module) -> torch.optim.Optimizer:
    rate = config.discriminator_lr if name == "discriminator" else config.generator_lr
    groups = [{"params": list(network.parameters()), "lr": rate, "initial_lr": rate}]
    if config.name == "adam":
        return FusedAdam(groups, betas=(0.5, 0.99))
    if name == "encoder":
        return FusedAdam(groups, betas=(0.5, 0.999))
    return torch.optim.RMSprop(groups, alpha=0.99, foreach=True)


def rate_factor(config: TrainConfig, number: int) -> float:
    """What step `number`, from 0, multiplies the learning rates by: 1, then falling linearly to 0."""
    done = number / config.steps
    start = config.optimiser.decay_from
    return 1.0 if done < start else (1 - done) / (1 - start)


def _noise(
    config: TrainConfig, number: int, shape: Sequence[int], device: torch.device, rank: int, ranks: int
) -> Tensor | float:
    if not config.loss.neutral_noise:
        return 0.0
    # Drawn for the whole batch and sliced, so that the number of ranks changes nothing.
    generator = torch.Generator(device).manual_seed(seed_of(config.seed, number))
    noise = torch.randn((ranks, *shape), generator=generator, device=device)[rank]
    return noise * (config.loss.neutral_noise / HALF)
