"""The paper's networks: CycleGAN's ResNet generator with attribute planes, and the image encoder I_E."""

import torch
from torch import Tensor, nn

from icface.networks.config import ModelConfig


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a skip; dropout between them where asked for."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """G_N and G_A of the paper: strided convolutions, residual blocks, transposed convolutions, tanh.

    The attributes are spread over planes beside the picture's channels. Convolutions before a norm have no bias.
    Its `model` counts layers as the released checkpoints do (padding, convolution, norm and activation each take
    an index), so released weights load by key.
    """

    def __init__(self, config: ModelConfig, attributes: int) -> None:
        super().__init__()
        width = config.width
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3 + attributes, width, 7, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        for channels in (width, 2 * width):
            layers += [
                nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(2 * channels),
                nn.ReLU(inplace=True),
            ]
        layers += [ResidualBlock(4 * width, config.dropout) for _ in range(config.blocks)]
        for channels in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] and (B, n) coded -> (B, 3, S, S) in [-1, 1]."""
        planes = attributes[:, :, None, None].expand(-1, -1, *image.shape[2:])
        return self.model(torch.cat([image, planes], dim=1))

    def attribute_weights(self) -> list[tuple[Tensor, int]]:
        """The weights of the attributes' planes; see `icface.networks.generators.AttributeGenerator`."""
        stem = self.model[1]
        assert isinstance(stem, nn.Conv2d)
        return [(stem.weight, 3)]


class ImageEncoder(nn.Module):
    """I_E of the paper: a small hourglass whose output has the picture's own size and range."""

    def __init__(self) -> None:
        super().__init__()

        def down(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]

        self.model = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            *down(64, 64),
            *down(64, 128),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(64, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 3, S, S) in [-1, 1]."""
        return self.model(image)


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), as CycleGAN and the released code have it; norms from N(1, 0.02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
