"""What several ranks exchange: one gradient all-reduce a phase, losses, and counts for masked means.

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


def average_statistics(module: nn.Module) -> None:
    """Give every rank the ranks' mean of the batch norms' running means and variances, in one all-reduce.

    Each rank normalises by its own slice (SyncBatchNorm, which does not, exists on GPUs only: there nothing is left
    to average). The running statistics follow linearly, so averaging them after every step keeps one set of them:
    what is saved, shown and resumed does not depend on the rank or on when it was saved.
    """
    if world()[1] == 1:
        return
    statistics = [
        tensor
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, nn.SyncBatchNorm)
        for tensor in (part.running_mean, part.running_var)
        if tensor is not None
    ]
    if statistics:
        _average_in_place(statistics)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, in one all-reduce."""
    if world()[1] == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        _average_in_place(gradients)


def _average_in_place(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world()[1]
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def broadcast_parameters(module: nn.Module) -> None:
    """Give every rank rank 0's weights and buffers."""
    if world()[1] == 1:
        return
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def any_rank(*flags: bool, device: torch.device) -> list[bool]:
    """Of each flag, whether it is set on at least one rank; every rank gets the same answer."""
    if world()[1] == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.float32, device=device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return [value > 0 for value in values.tolist()]


def from_first_rank(number: int, device: torch.device) -> int:
    """Rank 0's number, on every rank."""
    if world()[1] == 1:
        return number
    value = torch.tensor(number, device=device)
    dist.broadcast(value, src=0)
    return int(value.item())
