"""Fused Adam walks through memory: weights in channels-last order are not copied, and get their own gradients."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from icface.training.fused_adam import FusedAdam

CHANNELS_LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format


def steps(kind, weight_order, gradient_order, **options):
    """Weights after three steps, and the optimiser."""
    draw = torch.Generator().manual_seed(2)
    weights = [torch.randn(4, 3, 3, 3, generator=draw).contiguous(memory_format=weight_order)]
    weights += [torch.randn(5, 2, generator=draw), torch.randn(3, 1, 1, 1, generator=draw)]
    parameters = [torch.nn.Parameter(weight) for weight in weights]
    optimiser = kind(parameters, lr=0.1, betas=(0.5, 0.99), **options)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        parameters[0].grad = parameters[0].grad.contiguous(memory_format=gradient_order)
        optimiser.step()
    return parameters, optimiser


@pytest.mark.parametrize("weight_order", [CHANNELS_LAST, CONTIGUOUS])
@pytest.mark.parametrize("gradient_order", [CHANNELS_LAST, CONTIGUOUS])
def test_it_takes_the_steps_of_adam_whatever_the_order(weight_order, gradient_order):
    ours, optimiser = steps(FusedAdam, weight_order, gradient_order)
    plain, reference = steps(torch.optim.Adam, CONTIGUOUS, CONTIGUOUS, fused=False, foreach=False)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(optimiser.state[one][name], reference.state[other][name])
    assert optimiser.state[ours[0]]["exp_avg"].shape == ours[0].shape  # checkpoints stay as they were


def test_channels_last_gradients_are_not_copied():
    _, optimiser = steps(FusedAdam, CHANNELS_LAST, CHANNELS_LAST)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        optimiser.step()
    assert "aten::clone" not in {entry.key for entry in recorded.key_averages()}
