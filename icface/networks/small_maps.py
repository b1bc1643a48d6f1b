"""3x3 convolutions of few pixels, whose weights' gradient is a matrix product on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 8
"""Width and height of the output up to which the matrix product is faster. Of 8 pictures of 8 x 8 with 512 channels it
takes 6 ms in bfloat16, and oneDNN's backward 18 ms. At 16 x 16 the latter wins."""


class SmallMapConv2d(nn.Conv2d):
    """A 3x3 convolution with padding 1 and no bias; same weights, same numbers as `nn.Conv2d`.

    oneDNN spends most of the weights' gradient on changes of their memory order where maps are small and channels are
    many. The product of the gradient with the gathered neighbours has the order of channels-last weights by itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """A convolution from `inputs` to `outputs` channels; `stride` 1 or 2."""
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps features (B, C, H, W) to features (B, D, H / stride, W / stride), rounded up."""
        if (
            torch.compiler.is_compiling()
            or x.device.type != "cpu"
            or max(x.shape[2:]) > LARGEST * self.stride[0]
            or not (torch.is_grad_enabled() and self.weight.requires_grad)
        ):
            return super().forward(x)
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        made: Tensor = _Convolution.apply(x.to(kind), self.weight.to(kind), self.stride[0])
        return made


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=stride, padding=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            settings = (None, [ctx.stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, [True, False, False])
            of_x = torch.ops.aten.convolution_backward(gradient, x, weight, *settings)[0]
        if ctx.needs_input_grad[1]:
            rows = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
            of_weight = (rows.T @ neighbours(x, ctx.stride)).view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        return of_x, of_weight, None


def neighbours(x: Tensor, stride: int = 1) -> Tensor:
    """(B h w, 9 C): of each `stride`-th pixel of `x` (B, C, H, W) the 3 x 3 around it, row by row, zeros outside.

    >>> neighbours(torch.ones(1, 1, 1, 2)).tolist()
    [[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]
    """
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, stride).unfold(2, 3, stride)  # (B, h, w, C, 3, 3), a view
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(windows.shape[0] * windows.shape[1] * windows.shape[2], -1)
