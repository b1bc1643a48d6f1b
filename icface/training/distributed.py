"""What several ranks exchange: one gradient all-reduce a phase, and counts for masked means.

Works under whatever has initialised torch.distributed (torchrun, Ray Train); alone it does nothing. Explicit
all-reduces instead of DistributedDataParallel: D and the generators run several forwards before one backward, and a
phase trains two networks at once.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """(rank, world size); (0, 1) outside torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a detached tensor over all ranks, on every rank."""
    _, size = world()
    if size == 1:
        return value.detach()
    total = value.detach().clone().float()
    dist.all_reduce(total)
    return total / size


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, in one all-reduce."""
    _, size = world()
    if size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def broadcast_parameters(module: nn.Module) -> None:
    """Give every rank rank 0's weights and buffers."""
    if world()[1] == 1:
        return
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on at least one rank; every rank gets the same answer."""
    if world()[1] == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())
