"""Steps of a `TfliteNetwork` on a CPU that need gradients: those of its inputs alone, since its weights are frozen.

PyTorch's own backward computes more than that, or takes slower ways. The numbers are the same up to rounding.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable


class FrozenConvolution(Function):
    """A convolution by oneDNN, which `conv2d` does not choose for 1x1 kernels of few channels."""

    @staticmethod
    def forward(
        ctx: Any,
        picture: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: tuple[int, int],
        groups: int,
    ) -> Tensor:
        """`conv2d` of the same arguments: (B, C, H, W) float32 -> (B, D, H', W')."""
        ctx.save_for_backward(picture, weight)
        ctx.settings = stride, padding, groups
        return _by_onednn(picture, weight, bias, stride, padding, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The picture's gradient. Of a 1x1 kernel it is a convolution itself, by the transposed weights."""
        picture, weight = ctx.saved_tensors
        stride, padding, groups = ctx.settings
        if weight.shape[2:] == (1, 1) and stride == 1 and groups == 1:
            transposed = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)
            return _by_onednn(gradient, transposed, None, 1, (0, 0), 1), None, None, None, None, None
        made, _, _ = torch.ops.aten.convolution_backward(
            gradient, picture, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], groups, [True, False, False]
        )
        return made, None, None, None, None, None


class FrozenPrelu(Function):
    """PReLU (B, C, H, W) whose slopes (C,) do not learn: PyTorch's backward computes a gradient of each, slowly."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, slopes: Tensor) -> Tensor:
        """`functional.prelu`."""
        ctx.save_for_backward(values, slopes)
        return torch.nn.functional.prelu(values, slopes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of the values."""
        values, slopes = ctx.saved_tensors
        slopes = slopes[:, None, None]
        # Five times as fast on a CPU as `where`, which has no vector code there.
        made = torch.ops.aten.threshold_backward(gradient, values, 0)
        return made.mul_(1 - slopes).addcmul_(gradient, slopes), None


def _by_onednn(
    picture: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int], groups: int
) -> Tensor:
    # The operator that torch.compile's CPU code calls.
    made: Tensor = torch.ops.mkldnn._convolution_pointwise(
        picture, weight, bias, padding, [stride] * 2, [1, 1], groups, "none", [], ""
    )
    return made
