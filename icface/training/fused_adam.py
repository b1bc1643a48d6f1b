"""PyTorch's fused Adam, given the weights in the order in which they lie in memory."""

import inspect
from typing import Any

import torch
from torch import Tensor


class FusedAdam(torch.optim.Adam):
    """`torch.optim.Adam(..., fused=True)` with the same state and the same numbers.

    PyTorch's CPU kernel walks through weights, gradients and averages side by side, as they lie in memory. It copies
    each gradient that is not contiguous, as those of channels-last weights are, and does not use the copy. A gradient
    in another order than its weight would be added to the wrong weights, without a word. So channels-last weights are
    handed over as the contiguous tensors (out, height, width, in) that they are, and gradients in their order.
    """

    # PyTorch's own guard these against torch.compile, and import its compiler for that: two seconds of every rank's
    # start. No optimiser is compiled here.
    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)

    def __init__(self, params: Any, **options: Any) -> None:
        """As `torch.optim.Adam`, without `fused`."""
        super().__init__(params, fused=True, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change the weights by their gradients."""
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)

    def _init_group(self, group: dict[str, Any], params: list[Tensor], *others: list[Tensor]) -> bool:
        """Collect what a step works on, as PyTorch's own does: weights, gradients, averages."""
        has_complex: bool = super()._init_group(group, params, *others)
        grads, averages, squares = others[:3]
        for place, weight in enumerate(params):
            if weight.device.type != "cpu":
                continue
            if _is_channels_last(weight):
                for tensors in (params, grads, averages, squares):
                    tensors[place] = tensors[place].permute(0, 2, 3, 1)
            grads[place] = grads[place].contiguous()
        return has_complex


def _is_channels_last(weight: Tensor) -> bool:
    return weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
