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
        """Maps pictures (B, 3, S, S) in [-1, 1] and coded attributes (B, n) to pictures of the same shape."""
        return self.generator(self.encoder(image), attributes)

    def attribute_weights(self) -> list[tuple[Tensor, int]]:
        """Those of the generator behind the encoder."""
        return self.generator.attribute_weights()


AttributeGenerator = ResnetGenerator | WarpGenerator | EncodedGenerator
"""Picture (B, 3, S, S) in [-1, 1] and coded attributes (B, n) in [0, 1] -> picture.

`attribute_weights` gives the weights that the attributes meet first: (tensor, offset), where column offset + i of the
tensor's second axis belongs to attribute i. Zeros there leave an attribute out.
"""


def make_neutraliser(config: ModelConfig, attributes: int) -> AttributeGenerator:
    """G_N."""
    return (ResnetGenerator if config.architecture == "resnet" else WarpGenerator)(config, attributes)


def make_generator(config: ModelConfig, attributes: int) -> AttributeGenerator:
    """G_A, with I_E before it where `config.encoder` asks for it."""
    if config.encoder:
        return EncodedGenerator(config, attributes)
    return (ResnetGenerator if config.architecture == "resnet" else WarpGenerator)(config, attributes)
