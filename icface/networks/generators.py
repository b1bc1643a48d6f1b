"""The two generators of a model, by architecture."""

from torch import Tensor, nn

from icface.networks.config import ModelConfig
from icface.networks.resnet import ImageEncoder, ResnetGenerator
from icface.networks.warp import WarpGenerator


class EncodedGenerator(nn.Module):
    """The paper's G_A behind its image encoder: `G_A(I_E(image), attributes)`."""

    def __init__(self, config: ModelConfig, attributes: int) -> None:
        super().__init__()
        self.encoder = ImageEncoder()
        self.generator = ResnetGenerator(config, attributes)

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        return self.generator(self.encoder(image), attributes)

    def silence(self, attribute: int) -> None:
        self.generator.silence(attribute)


AttributeGenerator = ResnetGenerator | WarpGenerator | EncodedGenerator
"""Picture (B, 3, S, S) in [-1, 1] and coded attributes (B, n) in [0, 1] -> picture; `silence` leaves one out."""


def make_neutraliser(config: ModelConfig, attributes: int) -> AttributeGenerator:
    """G_N."""
    return (ResnetGenerator if config.architecture == "resnet" else WarpGenerator)(config, attributes)


def make_generator(config: ModelConfig, attributes: int) -> AttributeGenerator:
    """G_A, with I_E before it where `config.encoder` asks for it."""
    if config.encoder:
        return EncodedGenerator(config, attributes)
    return (ResnetGenerator if config.architecture == "resnet" else WarpGenerator)(config, attributes)
