"""Averaged weights (EMA): what a bundle holds and what validation looks at."""

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from icface.bundle import ICface
from icface.training.batch import Batch
from icface.training.distributed import mean_over_ranks


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
        saved = self.model.state_dict()
        self._buffers = [name for name, _ in self.model.named_buffers() if name in saved]  # the rest is constant

    @torch.no_grad()
    def update(self, model: ICface, step: int) -> None:
        """Take in the weights after step number `step` (0-based)."""
        halflife = min(self.halflife_share * (step + 1), self.LONGEST)
        decay = 0.5 ** (1 / halflife) if halflife > 0 else 0.0
        # One kernel for all weights.
        average = get_ema_multi_avg_fn(decay)
        average(list(self.model.parameters()), list(model.parameters()), 0)
        for name in self._buffers:
            self.model.get_buffer(name).copy_(model.get_buffer(name))


@torch.no_grad()
def estimate_batch_norms(model: ICface, batches: Iterable[Batch], device: torch.device) -> None:
    """Estimate the running statistics of `model`'s batch norms on `batches`, first G_N's, then G_A's behind it.

    Those that were copied from the training belong to weights that the average never had. Under several ranks each
    takes its own batches and the statistics are averaged. Without batch norms or batches nothing changes. `model` is
    left in eval mode, in which dropout is during the estimate, as it is when the model is used.
    """
    model.eval()
    parts = [
        [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for network in (model.neutraliser, model.generator)
    ]
    # A copy on the device once, for two passes; without batch norms nothing is read.
    inputs = [batch.to(device) for batch in batches] if any(parts) else []
    if not inputs:
        return
    for norms, animating in zip(parts, (False, True), strict=True):
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
            norm.train()
        for batch in inputs:
            neutral = model.neutralise(batch.source, batch.source_encoded)
            if animating:
                model.generator(neutral, batch.driving_encoded)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for statistic in (norm.running_mean, norm.running_var):
                assert statistic is not None
                statistic.copy_(mean_over_ranks(statistic))
