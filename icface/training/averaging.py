"""Averaged weights (EMA): what a bundle holds and what validation looks at."""

import copy

import torch

from icface.bundle import ICface


class AveragedModel:
    """An exponential moving average of a model's weights; buffers are copied.

    The half-life grows with the steps taken (a share of them, at most `LONGEST`), so that early weights, which are
    bad, are soon forgotten.
    """

    LONGEST = 1000
    """Largest half-life, steps."""

    def __init__(self, model: ICface, halflife_share: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.halflife_share = halflife_share

    @torch.no_grad()
    def update(self, model: ICface, step: int) -> None:
        """Take in the weights after step number `step` (0-based)."""
        halflife = min(self.halflife_share * (step + 1), self.LONGEST)
        decay = 0.5 ** (1 / halflife) if halflife > 0 else 0.0
        # One kernel for all weights, as torch.optim.swa_utils has it.
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for kept, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
