"""Losses that are not finite: no weight changes on one, and the training stops with the loss's name.

On a CPU the host looks at each loss before its backward. On a GPU looking would make the host wait for the device
twice a step. There the answer stays on the device, where the optimisers' updates depend on it, and the host reads it
a few steps later.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from icface.errors import IcfaceError
from icface.training.batch import Batch

Seen = tuple[tuple[str, ...], Tensor]
"""Of a phase: the terms' names, and (2, terms) on the device, as in `_Record`."""


class NonFiniteLoss(IcfaceError):
    """A loss term became infinite or not a number on some rank; every rank raises it, with its slice of the batch."""

    def __init__(self, step: int, terms: Mapping[str, float], batch: Batch, here: bool = True) -> None:
        bad = ", ".join(name for name, value in terms.items() if not np.isfinite(value))
        super().__init__(
            f"step {step}: the loss {bad} is not finite; lower the learning rates (--optimiser.generator-lr, "
            f"--optimiser.discriminator-lr) or train in float32 (--precision float32)"
        )
        self.step = step
        self.batch = Batch(**{item.name: getattr(batch, item.name).cpu() for item in fields(Batch)})
        self.here = here
        """Whether it happened on this rank's slice."""


@dataclass(frozen=True)
class _Record:
    """One step's losses on their way to the host."""

    step: int
    batch: Batch
    names: tuple[str, ...]
    values: Tensor
    """(2, names): each term's mean over the ranks, and this rank's own."""
    arrived: torch.cuda.Event | None


class DeferredCheck:
    """Holds the optimisers back from the first loss on that is not finite, and tells the host `LAG` steps later.

    `bad` stays set, so the steps that the host has begun meanwhile change no weight either. The weights stay those
    before the phase whose loss was not finite, as if the host had looked at once.
    """

    LAG = 4
    """Steps that the host may be ahead of the device; the batches of so many are kept."""

    def __init__(self, device: torch.device) -> None:
        self.bad = torch.zeros((), device=device)
        """() float32 on the device: 1 after a loss or a gradient that is not finite, on any rank."""
        self._one = torch.ones((), device=device)
        self.seen: list[Seen] = []
        """What this step's phases have shown so far."""
        self._records: deque[_Record] = deque()

    def see(self, phase: str, names: Sequence[str], means: Tensor, own: Tensor, gradients: Iterable[Tensor]) -> None:
        """Look at a phase's terms (their means over the ranks, and this rank's own) and its averaged gradients."""
        found = torch.zeros_like(self.bad)
        # GradScaler's check: one launch over all gradients. Multiplying by 1 leaves them as they are.
        torch._amp_foreach_non_finite_check_and_unscale_(list(gradients), found, self._one)
        # What comes of a bad loss needs no name of its own.
        gradient = torch.zeros_like(found).masked_fill_((found > 0) & means.isfinite().all(), torch.nan)
        values = torch.stack([torch.cat([means, gradient[None]]), torch.cat([own, gradient[None]])])
        self.bad.copy_(torch.maximum(self.bad, (~values.isfinite().all()).float()))
        self.seen.append(((*names, f"{phase}/gradient"), values))

    def hold_back(self, optimisers: Iterable[torch.optim.Optimizer]) -> None:
        """Make the next step of each optimiser change no weight if `bad` is set."""
        for optimiser in optimisers:
            if optimiser.defaults.get("fused"):
                optimiser.found_inf = self.bad  # type: ignore[attr-defined]  # as GradScaler hands it over
                continue
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:  # RMSprop without momentum stands still where the gradient is 0
                        parameter.grad.masked_fill_(self.bad > 0, 0)

    def end_step(self, step: int, batch: Batch) -> None:
        """Send what was seen in a step to the host; `batch` is kept until it has arrived."""
        names = tuple(name for phase, _ in self.seen for name in phase)
        values = torch.cat([values for _, values in self.seen], dim=1)
        self.seen = []
        on_gpu = values.device.type == "cuda"
        copy = torch.empty(values.shape, pin_memory=on_gpu).copy_(values, non_blocking=True)
        copy.on_host = True  # type: ignore[attr-defined]  # benchmarks/counting.py
        arrived = torch.cuda.Event() if on_gpu else None
        if arrived is not None:
            arrived.record()
        self._records.append(_Record(step, batch, names, copy, arrived))
        self.settle(self.LAG)

    def settle(self, lag: int = 0) -> None:
        """Read what has been sent, but for the last `lag` steps.

        Raises NonFiniteLoss for the first step whose losses are not finite.
        """
        while len(self._records) > lag:
            record = self._records.popleft()
            if record.arrived is not None:
                record.arrived.synchronize()
            means, own = record.values.tolist()
            if not np.isfinite(means).all():
                self._records.clear()
                here = not np.isfinite(own).all()
                raise NonFiniteLoss(record.step, dict(zip(record.names, means, strict=True)), record.batch, here)
