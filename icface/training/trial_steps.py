"""What a step of a training costs on this machine: a few steps on random pictures, nothing is kept."""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icface.bundle import BundleConfig
from icface.networks.features import perceptual_distance
from icface.training.batch import Batch
from icface.training.checkpoint import HostCopy
from icface.training.config import TrainConfig
from icface.training.critic import make_critic
from icface.training.trainer import prepare


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Measured on one process, with its share of a batch."""

    seconds: float
    """Of a step, a mean over those with and without the R1 penalty. Without reading data and exchanging gradients."""
    memory_bytes: int
    """Most that the process held: on a GPU of its memory, else all of it with libraries and a checkpoint's copy."""
    parameters: int
    """Of neutraliser and generator."""
    checkpoint_bytes: int
    bundle_bytes: int


def step_cost(
    config: TrainConfig, bundle_config: BundleConfig, pairs: int, identities: int, device: torch.device | str = "cpu"
) -> StepCost:
    """Train three steps on `pairs` random pairs; see `StepCost`.

    Raises IcfaceError when the weights of a frozen network cannot be had.
    """
    device = torch.device(device)
    perceptual = None
    if config.loss.perceptual:
        perceptual = perceptual_distance(config.loss.perceptual_network, config.loss.perceptual_weights)
    critic = make_critic(config.loss, bundle_config, device)
    count = len(bundle_config.schema)
    training = prepare(
        config, bundle_config, identities, np.full(count, 0.1, np.float32), device, perceptual, None, critic
    )
    batch = Batch.example(pairs, config.model.size, count, identities)
    interval = max(1, config.loss.r1_interval)
    times = []
    # The first step prepares kernels and optimisers; then one with R1 and one without.
    for number in (0, interval, interval + 1):
        training.steps_done = number
        _wait(device)
        began = time.perf_counter()
        training.step(batch)
        training.settle()
        _wait(device)
        times.append(time.perf_counter() - began)
    with_r1, without = times[1], times[2] if interval > 1 else times[1]
    weights = training.average.model.state_dict()
    HostCopy().take(training.state())
    return StepCost(
        seconds=without + (with_r1 - without) / interval,
        memory_bytes=_memory(device),
        parameters=sum(tensor.numel() for tensor in training.average.model.parameters()),
        checkpoint_bytes=_bytes(training.state()),
        bundle_bytes=_bytes(weights),
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bytes(value: Any) -> int:
    """Of all tensors in nested containers."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
