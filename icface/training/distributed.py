"""What several ranks exchange: one gradient all-reduce a phase, losses, and counts for masked means.

The all-reduce of a phase runs beside the next phase where that needs none of the networks that the first one trained.
Parts of an accumulated batch exchange no gradients.

Works under whatever has initialised torch.distributed (torchrun, Ray Train); alone it does nothing. Explicit
all-reduces instead of DistributedDataParallel: D and the generators run several forwards before one backward, and a
phase trains two networks at once.
"""

from collections.abc import Sequence

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

    Each rank normalises by its own slice (SyncBatchNorm, which does not, exists on GPUs only: there nothing is left to
    average). The running statistics follow linearly, so averaging them after every step keeps one set of them. What is
    saved, shown and resumed does not depend on the rank or on when it was saved.
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
        RanksMean(statistics).wait()


class RanksMean:
    """The ranks' mean of some tensors, in one all-reduce that runs beside whatever the caller does before `wait`."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = list(tensors)
        self._flat: Tensor | None = None
        if world()[1] > 1 and self._tensors:
            self._flat = torch.cat([tensor.flatten() for tensor in self._tensors])
            self._work = dist.all_reduce(self._flat, async_op=True)

    def wait(self) -> None:
        """Put the means into the tensors. On a GPU its queue waits, not the host."""
        if self._flat is None:
            return
        self._work.wait()
        parts = self._flat.div_(world()[1]).split([tensor.numel() for tensor in self._tensors])
        # PyTorch has no public name for one launch over all tensors, here and in `icface.training.finite`.
        torch._foreach_copy_(
            self._tensors, [part.view_as(tensor) for part, tensor in zip(parts, self._tensors, strict=True)]
        )


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
