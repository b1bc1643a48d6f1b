"""Our generator: it moves the input's own pixels and paints what it cannot move.

A mouth that opens shows what no pixel of the input holds, while skin, hair and background only move. So the network
predicts a flow, a mask and a painted picture, and the output is `mask * warp(input, flow) + (1 - mask) * painted`. The
flow is the sum of three. An affine one is linear in the attributes: a head that rolls moves as a whole, and farther
than any training frame shows. A coarse one (`FlowBasis`) is linear too: a field of arrows for each attribute. The nose
of a head that turns runs ahead of its outline, and a jaw drops, much alike in all faces of one crop. What is left, a
convolution adds. All begin at zero, so training starts at the quality of copying the source and only ever has to
improve on it. The attributes reach every level as a scale and a shift of the normalised features (FiLM).
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icface.networks import fused_modulation
from icface.networks.config import ModelConfig
from icface.networks.few_outputs import FewOutputsConv2d
from icface.networks.small_maps import SmallMapConv2d
from icface.pixels import cubic_matrix

MASK_BIAS = 8.0
"""Logit of the mask at the start: all of the picture is the moved input. The lower it is, the sooner the network paints
over what it has not yet learned to move, in the mean of the colours that may come there: blurred."""
COARSE = 8
"""Pixels that share a colour in the ground of the painted picture."""
PICTURE = 3
"""Channels of a picture."""
LAYERS = 12
"""Channels of `Warped.layers`."""
LARGEST_FLOW = 0.5
"""Farthest that a pixel moves, as a share of half the picture's width."""


class Warped(NamedTuple):
    """A picture and what is behind it."""

    picture: Tensor
    """(B, 3, S, S) in [-1, 1]."""
    flow: Tensor
    """(B, 2, S, S): where each pixel comes from, half widths."""
    kept: Tensor
    """(B, 1, S, S): the share of each pixel that is moved and not painted."""
    moved: Tensor
    """(B, 3, S, S) in [-1, 1], as are all pictures here."""
    painted: Tensor

    @property
    def shown(self) -> Tensor:
        """The picture for a judge that may teach what moves and where paint goes, but not what paint looks like."""
        return self.kept * self.moved + (1 - self.kept) * self.painted.detach()

    def layers(self, source: Tensor, taught: bool = True) -> Tensor:
        """(B, 12, S, S): this picture of `source` (B, 3, S, S) and, behind it, what it was made of (`fetched`).

        Without `taught` no gradient says what paint looks like, as in `shown`.
        """
        painted = self.painted if taught else self.painted.detach()
        paint = (1 - self.kept) * painted
        return torch.cat([self.kept * self.moved + paint, source, paint, self.flow, self.kept], dim=1)


class Modulation(nn.Module):
    """Group norm, a scale and a shift that the attributes decide, SiLU."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = max(1, channels // 16)
        self.film = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.film.weight, 0.0, 0.1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps features (B, C, H, W) and a condition (B, n) to features of the same shape."""
        with torch.autocast(x.device.type, enabled=False):  # small: casting its weights would cost more than it saves
            film = self.film(condition)
            if x.device.type == "cpu":  # there `modulate` wants one type, elsewhere it reads float32 as it is
                film = film.to(x.dtype)
            scale, shift = film[:, :, None, None].chunk(2, dim=1)
            return modulate(x, scale, shift, self.groups)


class ModulatedConv(nn.Module):
    """3x3 convolution, modulation with SiLU."""

    def __init__(self, inputs: int, outputs: int, condition: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = SmallMapConv2d(inputs, outputs, stride)
        self.modulation = Modulation(outputs, condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps features (B, C, H, W) and a condition (B, n) to features (B, D, H / stride, W / stride)."""
        return self.modulation(self.conv(x), condition)


class ModulatedBlock(nn.Module):
    """Two modulated convolutions around a skip."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.first = ModulatedConv(channels, channels, condition)
        self.second = ModulatedConv(channels, channels, condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps features (B, C, H, W) and a condition (B, n) to features of the same shape."""
        return x + self.second(self.first(x, condition), condition)


class FlowBasis(nn.Module):
    """Flow (B, 2, H, W) in half widths out of attributes (B, n) and the features (B, C, h, w) of the picture.

    A weighted sum of fields of `cells` x `cells` arrows, one an attribute, as the shape of an active appearance model
    is one of its modes. The weights are the attributes that are asked for plus what is read off the picture. A
    neutraliser is told where the face shall go but not where it is, and a neutral face may keep a smile.
    """

    enlarge: Tensor

    def __init__(self, cells: int, attributes: int, channels: int, size: int) -> None:
        super().__init__()
        self.cells = cells
        self.register_buffer("enlarge", cubic_matrix(cells, size), persistent=False)
        self.fields = nn.Linear(attributes, 2 * cells**2)
        self.read = nn.Parameter(0.02 * torch.randn(channels, attributes))
        nn.init.zeros_(self.fields.weight)
        nn.init.zeros_(self.fields.bias)

    def forward(self, attributes: Tensor, features: Tensor) -> Tensor:
        """The flow (B, 2, H, W), half widths, of attributes (B, n) and features (B, C, h, w)."""
        # Over (B, H W, C): the gradient has the features' order of memory, and so has all that it is added to.
        means = features.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1, dtype=torch.float32)
        weights = attributes + means @ self.read
        fields = self.fields(weights).view(-1, 2, self.cells, self.cells)
        return self.enlarge @ fields @ self.enlarge.T


class WarpGenerator(nn.Module):
    """Neutraliser or generator (B, 3, S, S) x (B, n) -> (B, 3, S, S).

    The picture is folded 2 x 2 into channels, brought down to 8 x 8 and up again. Flow and mask are made at half the
    picture's size, and the painted picture is unfolded from there.
    """

    averaging: Tensor | None
    along: Tensor

    def __init__(self, config: ModelConfig, attributes: int) -> None:
        super().__init__()
        condition = 128
        self.gain = config.attribute_gain
        self.register_buffer(
            "averaging", averaging_filter(3) if config.painting == "smooth" else None, persistent=False
        )
        self.condition = nn.Sequential(
            nn.Linear(attributes, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        levels = (config.size // 2).bit_length() - 4  # from S/2 down to 8 x 8
        channels = [min(config.width * 2**level, 8 * config.width, 512) for level in range(levels + 1)]
        self.stem = nn.Conv2d(12, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            ModulatedConv(inputs, outputs, condition, stride=2) for inputs, outputs in pairwise(channels)
        )
        self.middle = nn.ModuleList(ModulatedBlock(channels[-1], condition) for _ in range(config.blocks))
        self.up = nn.ModuleList(
            ModulatedConv(inputs, outputs, condition)
            for inputs, outputs in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        # The decoder sees the encoder's features at every level but the finest, where they would tempt it to
        # repaint the unmoved input instead of moving it.
        self.affine = nn.Linear(attributes, 6, bias=False)
        nn.init.zeros_(self.affine.weight)
        self.register_buffer("along", along_side(config.size), persistent=False)
        cells = config.flow_basis
        self.basis = FlowBasis(cells, attributes, channels[-1], config.size) if cells else None
        self.flow = FewOutputsConv2d(channels[0], 3)
        self.paint = nn.Conv2d(channels[0], 12, 3, padding=1)
        nn.init.zeros_(self.flow.weight)
        self.flow.bias = nn.Parameter(torch.tensor([0.0, 0.0, MASK_BIAS]))

    def forward(self, image: Tensor, attributes: Tensor, with_flow: bool = False) -> Tensor | Warped:
        """Picture (B, 3, S, S) in [-1, 1] and coded attributes (B, n) -> picture in [-1, 1].

        Layers (B, 12, S, S) of a neutral face do as well (`Warped.layers`): their pixels are those of the source.
        `with_flow` gives what is behind the result too.
        """
        attributes = (attributes * 2 - 1) * self.gain
        with torch.autocast(image.device.type, enabled=False):
            condition = self.condition(attributes)
        x = self.stem(fold(image[:, :PICTURE]))
        skips = []
        for level in self.down:
            skips.append(x)
            x = level(x, condition)
        for block in self.middle:
            x = block(x, condition)
        lowest = x
        for index, level in enumerate(self.up):
            x = level(doubled(x), condition)
            if index < len(self.up) - 1:
                x = x + skips[-1 - index]
        warped = self.compose(image, attributes, x, lowest)
        return warped if with_flow else warped.picture

    def compose(self, image: Tensor, attributes: Tensor, x: Tensor, lowest: Tensor) -> Warped:
        """The picture out of the finest features `x` and the coarsest ones `lowest`.

        Where pixels come from and what they are mixed by is float32: bfloat16 is off by tenths of a pixel.
        """
        painted = unfold(self.paint(x))
        with torch.autocast(image.device.type, enabled=False):
            flow, mask = self._flow(attributes, x.float(), lowest)
            moved = (warp if image.shape[1] == PICTURE else fetched)(image.float(), flow).clamp(-1, 1)
            details = painted.float() if self.averaging is None else without_chequer(painted.float(), self.averaging)
            painted = (_coarse(moved) + details).clamp(-1, 1)
            return Warped(mask * moved + (1 - mask) * painted, flow, mask, moved, painted)

    def _flow(self, attributes: Tensor, features: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, S, S) flow in half widths and (B, 1, S, S) share of what is moved, both float32."""
        # Plane by plane, as enlarging and the other flows are: a part of channels-last values is read one at a time.
        flow, mask = self.flow(features).contiguous().split([2, 1], dim=1)
        flow = F.interpolate(LARGEST_FLOW * torch.tanh(flow), scale_factor=2.0, mode="bilinear", align_corners=False)
        flow = flow + affine_flow(self.affine(attributes), self.along, self.along)
        if self.basis is not None:
            flow = flow + self.basis(attributes, lowest)
        return flow, torch.sigmoid(F.interpolate(mask, scale_factor=2.0, mode="bilinear", align_corners=False))

    def attribute_weights(self) -> list[tuple[Tensor, int]]:
        """The weights of the attributes; see `icface.networks.generators.AttributeGenerator`."""
        first = self.condition[0]
        assert isinstance(first, nn.Linear)
        fields = [(self.basis.fields.weight, 0), (self.basis.read, 0)] if self.basis is not None else []
        return [(first.weight, 0), (self.affine.weight, 0), *fields]


def modulate(x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    """SiLU of `x` (B, C, H, W), normalised in groups of channels, times 1 + `scale` plus `shift`, both (B, C, 1, 1).

    Called outside of autocast, on a CPU with all three of one type, elsewhere with `scale` and `shift` of any. The
    result has the type and the memory order of `x`.
    Statistics are float32. On a CPU it is PyTorch's own group norm, which changes the memory order elsewhere. There it
    is one kernel, or the same written out, in operations that torch.compile fuses.
    """
    if x.device.type == "cpu":
        return F.silu(torch.addcmul(shift, F.group_norm(x, groups), 1 + scale))
    if x.is_cuda and fused_modulation.AVAILABLE and not torch.compiler.is_compiling():
        return fused_modulation.modulate(x, scale, shift, groups)
    return modulate_written_out(x, scale, shift, groups)


def modulate_written_out(x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    """`modulate` in operations that torch.compile fuses."""
    grouped, of_groups = x.unflatten(1, (groups, -1)).float(), (1, (groups, -1))
    variance, mean = torch.var_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
    normalised = (grouped - mean) * torch.rsqrt(variance + fused_modulation.EPSILON)
    y = normalised * (1 + scale.unflatten(*of_groups).float()) + shift.unflatten(*of_groups).float()
    return F.silu(y).to(x.dtype).flatten(1, 2)


def fold(image: Tensor) -> Tensor:
    """`F.pixel_unshuffle(image, 2)` in channels-last order: (B, C, H, W) -> (B, 4 C, H / 2, W / 2)."""
    if image.device.type == "cpu" and not torch.compiler.is_compiling():  # a GPU's changes the order
        return F.pixel_unshuffle(image.contiguous(memory_format=torch.channels_last), 2)
    batch, channels, height, width = image.shape
    x = image.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)


def unfold(x: Tensor) -> Tensor:
    """`F.pixel_shuffle(x, 2)` in channels-last order: (B, 4 C, H, W) -> (B, C, 2 H, 2 W)."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        return F.pixel_shuffle(x.contiguous(memory_format=torch.channels_last), 2)
    batch, channels, height, width = x.shape
    y = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    return y.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) with each pixel twice in both directions, in the type of `x`: autocast would make it float32."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2.0)


def along_side(size: int) -> Tensor:
    """(size, 2) float32: each pixel's place along a side, in halves of it about the middle, and 1."""
    along = (torch.arange(size) + 0.5) * (2 / size) - 1
    return torch.stack([along, torch.ones(size)], dim=1)


def affine_flow(parameters: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, 2, H, W) flow in halves of the width of affine maps (B, 6) less the identity, about the middle.

    `rows` (H, 2) and `columns` (W, 2) are `along_side`. Forward and gradient are two small matrix products each.

    >>> affine_flow(torch.tensor([[0, 0, 0.5, 0, 0, 0]]), along_side(1), along_side(2))[0, 0].tolist()  # to the right
    [[0.5, 0.5]]
    """
    # Of a x + b y + c: (y, 1) times [[0, b], [a, c]] times (x, 1).
    maps = F.pad(parameters.view(-1, 2, 3), (1, 0)).view(-1, 2, 2, 2).transpose(2, 3)
    return rows @ maps @ columns.T


def averaging_filter(channels: int) -> Tensor:
    """(channels, 1, 3, 3) float32: 1 2 1 both ways over 16, for each channel by itself."""
    weights = torch.tensor([0.25, 0.5, 0.25])
    return (weights[:, None] * weights).expand(channels, 1, 3, 3).contiguous()


def without_chequer(picture: Tensor, weights: Tensor) -> Tensor:
    """(B, C, H, W) averaged over neighbours by an `averaging_filter`: a pattern of every other pixel is gone.

    >>> chequered = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]]).repeat(1, 1, 2, 2)
    >>> without_chequer(chequered, averaging_filter(1))[0, 0, 1, 1:3].tolist()
    [0.0, 0.0]
    """
    return F.conv2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), weights, groups=len(weights))


def _coarse(picture: Tensor) -> Tensor:
    """The colours of a picture without its details, as ground to paint on: an unpainted spot is skin, not grey."""
    small = F.avg_pool2d(picture, COARSE)
    return F.interpolate(small, scale_factor=float(COARSE), mode="bilinear", align_corners=False)


def followed(flow: Tensor, points: Tensor) -> Tensor:
    """Where the flow (B, 2, H, W) takes points (B, N, 2) from; both in half widths about the picture's middle.

    >>> followed(torch.full((1, 2, 4, 4), 0.25), torch.zeros(1, 1, 2)).tolist()
    [[[0.25, 0.25]]]
    """
    at = F.grid_sample(flow, points[:, None], mode="bilinear", padding_mode="border", align_corners=False)
    return points + at[:, :, 0].transpose(1, 2)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample `image` (B, C, H, W) at each pixel's own place plus `flow` (B, 2, H, W), in halves of the width.

    A zero flow gives the image back; pixels from outside repeat the border. It is a cubic convolution, which may
    overshoot the image's range. Bilinear sampling blurs, and where `pixels_from` is `neutral` a picture is moved twice
    on its way, to the neutral face and from there.
    """
    return _sampled(image, _places(flow))


def fetched(layers: Tensor, flow: Tensor) -> Tensor:
    """`warp` of a neutral picture whose `Warped.layers` (B, 12, S, S) are known: (B, 3, S, S).

    Its moved pixels are fetched from the source through both flows, so they are sampled once. What was painted, where
    pixels come from and the shares of both are smooth, so bilinear sampling does.
    """
    _, source, behind = layers.split([PICTURE, PICTURE, layers.shape[1] - 2 * PICTURE], dim=1)
    places = _places(flow)
    behind = F.grid_sample(behind, places, mode="bilinear", padding_mode="border", align_corners=False)
    paint, first, kept = behind.split([PICTURE, 2, 1], dim=1)
    return torch.addcmul(paint, kept, _sampled(source, places + first.permute(0, 2, 3, 1)))


def _sampled(image: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(image, places, mode="bicubic", padding_mode="border", align_corners=False)


def _places(flow: Tensor) -> Tensor:
    """(B, H, W, 2): each pixel's own place plus `flow` (B, 2, H, W), half widths about the picture's middle."""
    height, width = flow.shape[2:]
    ys = (torch.arange(height, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / width) - 1
    return torch.stack(torch.broadcast_tensors(xs[None, :], ys[:, None]), dim=-1)[None] + flow.permute(0, 2, 3, 1)
