# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: N803  # constants of kernels
"""Group norm, scale and shift, SiLU in one kernel forward and one backward, for GPUs: Triton.

Written out, `icface.networks.warp.modulate` goes through the features about ten times forward and twenty backward, most
of it in float32. Here they are read three times and written once, in their own type, and the statistics are float32.
One program works on one group of channels of one picture, whose pixels stay in the GPU's cache between the passes.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5
"""Added to the variance in group norm, as PyTorch does."""
AT_ONCE = 4096
"""Numbers that a program holds at once."""
AVAILABLE = find_spec("triton") is not None
"""PyTorch for GPUs brings Triton along; PyTorch for CPUs does not."""

if AVAILABLE:
    import triton
    import triton.language as tl

    @triton.jit
    def _part(
        pointer, base, start, channels,
        SIZE: tl.constexpr, WIDTH: tl.constexpr, PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        """Places of a block of a group's numbers, and which of them exist; features lie (B, H, W, C), SIZE pixels."""
        pixel, column = start + tl.arange(0, PIXELS), tl.arange(0, COLUMNS)
        exists = (pixel < SIZE)[:, None] & (column < WIDTH)[None, :]
        return pointer + base + pixel[:, None] * channels + column[None, :], exists

    @triton.jit
    def _forward(
        x, scale, shift, y, means, deviations, row, channels, groups, epsilon,
        SIZE: tl.constexpr, WIDTH: tl.constexpr, PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        picture, group = tl.program_id(0) // groups, tl.program_id(0) % groups
        base = picture.to(tl.int64) * SIZE * channels + group * WIDTH
        count = SIZE * WIDTH
        total = tl.zeros((PIXELS, COLUMNS), tl.float32)
        for start in range(0, SIZE, PIXELS):
            place, exists = _part(x, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
            total += tl.load(place, mask=exists, other=0.0).to(tl.float32)
        mean = tl.sum(total) / count
        total = tl.zeros((PIXELS, COLUMNS), tl.float32)
        for start in range(0, SIZE, PIXELS):
            place, exists = _part(x, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
            centred = tl.where(exists, tl.load(place, mask=exists, other=0.0).to(tl.float32) - mean, 0.0)
            total += centred * centred
        inverse = 1.0 / tl.sqrt(tl.sum(total) / count + epsilon)
        tl.store(means + tl.program_id(0), mean)
        tl.store(deviations + tl.program_id(0), inverse)
        column = tl.arange(0, COLUMNS)
        of_picture = picture * row + group * WIDTH + column
        gain = 1.0 + tl.load(scale + of_picture, mask=column < WIDTH, other=0.0).to(tl.float32)
        bias = tl.load(shift + of_picture, mask=column < WIDTH, other=0.0).to(tl.float32)
        for start in range(0, SIZE, PIXELS):
            place, exists = _part(x, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
            normal = (tl.load(place, mask=exists, other=0.0).to(tl.float32) - mean) * inverse
            z = normal * gain[None, :] + bias[None, :]
            made = z * tl.sigmoid(z)
            place, exists = _part(y, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
            tl.store(place, made.to(y.dtype.element_ty), mask=exists)

    @triton.jit
    def _slope(
        x, gradient, base, start, channels, mean, inverse, gain, bias,
        SIZE: tl.constexpr, WIDTH: tl.constexpr, PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        """The gradient of what SiLU is given, and the normalised features, of one block."""
        place, exists = _part(x, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
        normal = tl.where(exists, (tl.load(place, mask=exists, other=0.0).to(tl.float32) - mean) * inverse, 0.0)
        place, exists = _part(gradient, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
        z = normal * gain[None, :] + bias[None, :]
        open_ = tl.sigmoid(z)
        slope = tl.load(place, mask=exists, other=0.0).to(tl.float32) * open_ * (1.0 + z * (1.0 - open_))
        return slope, normal

    @triton.jit
    def _backward(
        x, scale, shift, gradient, means, deviations, of_x, of_scale, of_shift, row, channels, groups,
        SIZE: tl.constexpr, WIDTH: tl.constexpr, PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        picture, group = tl.program_id(0) // groups, tl.program_id(0) % groups
        base = picture.to(tl.int64) * SIZE * channels + group * WIDTH
        mean, inverse = tl.load(means + tl.program_id(0)), tl.load(deviations + tl.program_id(0))
        column = tl.arange(0, COLUMNS)
        within = column < WIDTH
        given = picture * row + group * WIDTH + column
        gain = 1.0 + tl.load(scale + given, mask=within, other=0.0).to(tl.float32)
        bias = tl.load(shift + given, mask=within, other=0.0).to(tl.float32)
        slopes = tl.zeros((PIXELS, COLUMNS), tl.float32)
        products = tl.zeros((PIXELS, COLUMNS), tl.float32)
        for start in range(0, SIZE, PIXELS):
            slope, normal = _slope(
                x, gradient, base, start, channels, mean, inverse, gain, bias, SIZE, WIDTH, PIXELS, COLUMNS
            )
            slopes += slope
            products += slope * normal
        to_shift, to_scale = tl.sum(slopes, axis=0), tl.sum(products, axis=0)
        made = picture * channels + group * WIDTH + column
        tl.store(of_shift + made, to_shift.to(of_shift.dtype.element_ty), mask=within)
        tl.store(of_scale + made, to_scale.to(of_scale.dtype.element_ty), mask=within)
        count = SIZE * WIDTH
        average = tl.sum(tl.where(within, to_shift * gain, 0.0)) / count
        alike = tl.sum(tl.where(within, to_scale * gain, 0.0)) / count
        for start in range(0, SIZE, PIXELS):
            slope, normal = _slope(
                x, gradient, base, start, channels, mean, inverse, gain, bias, SIZE, WIDTH, PIXELS, COLUMNS
            )
            back = (slope * gain[None, :] - average - normal * alike) * inverse
            place, exists = _part(of_x, base, start, channels, SIZE, WIDTH, PIXELS, COLUMNS)
            tl.store(place, back.to(of_x.dtype.element_ty), mask=exists)


class _Modulation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if scale.stride() != shift.stride() or scale.stride(1) != 1:
            scale, shift = scale.contiguous(), shift.contiguous()
        y = torch.empty_like(x)
        means, deviations = x.new_empty((2, len(x) * groups), dtype=torch.float32)
        blocks = _blocks(x, groups)
        numbers = scale.stride(0), x.shape[1], groups
        _forward[(len(means),)](x, scale, shift, y, means, deviations, *numbers, EPSILON, **blocks)
        ctx.save_for_backward(x, scale, shift, means, deviations)
        ctx.numbers, ctx.blocks = numbers, blocks
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, shift, means, deviations = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = torch.empty_like(x)
        of_scale, of_shift = (torch.empty(x.shape[:2], dtype=each.dtype, device=x.device) for each in (scale, shift))
        made = of_x, of_scale, of_shift
        _backward[(len(means),)](x, scale, shift, gradient, means, deviations, *made, *ctx.numbers, **ctx.blocks)
        return of_x, of_scale[:, :, None, None], of_shift[:, :, None, None], None


def _blocks(x: Tensor, groups: int) -> dict[str, int]:
    width, pixels = x.shape[1] // groups, x.shape[2] * x.shape[3]
    columns = triton.next_power_of_2(width)
    at_once = min(triton.next_power_of_2(pixels), max(AT_ONCE // columns, 1))
    return {
        "SIZE": pixels,
        "WIDTH": width,
        "PIXELS": at_once,
        "COLUMNS": columns,
        "num_warps": 8 if at_once * columns > 1024 else 4,
    }


def modulate(x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    """What `icface.networks.warp.modulate` does, in channels-last order; it has no second derivative."""
    made: Tensor = _Modulation.apply(x, scale, shift, groups)
    return made
