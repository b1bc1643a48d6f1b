"""D of the paper: one network for both outputs that judges realism, reads attributes and recognises the person."""

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from icface.networks.config import ModelConfig

EMBEDDING = 256
TEMPERATURE = 0.07
"""Divides the cosines of the normalised softmax."""


class DiscriminatorOutput(NamedTuple):
    """What D says of a batch of pictures."""

    realness: Tensor
    """(B, 1, h, w) patch logits."""
    attributes: Tensor
    """(B, n) in [0, 1]."""
    identity: Tensor
    """(B, identities) logits (`softmax`) or (B, 256) of unit length (`embedding`)."""
    features: list[Tensor]
    """Activations of the trunk, finest first, for feature matching."""


class Discriminator(nn.Module):
    """3x3 convolutions without norm down to 8x8 features of 128 channels, and three heads.

    Channels double with each level, up to eight times the width. Of a level's convolutions the first is strided. Which
    one is in the released code is not known here, and the number of parameters does not tell.

    The paper's attribute head is a convolution block with sigmoid, the released code's a linear layer with sigmoid.
    Here it is a convolution block, as the paper says. The identity head is linear. `softmax` gives class logits over
    the training identities, to be fed to a cross entropy without a softmax before it. `embedding` gives an embedding
    whose classes live in `classes`.
    """

    def __init__(self, config: ModelConfig, attributes: int, identities: int) -> None:
        super().__init__()
        width = config.discriminator_width
        levels = config.size.bit_length() - 4  # from S down to 8 x 8
        channels = [3] + [min(width * 2**level, 8 * width) for level in range(levels)]
        self.trunk = nn.ModuleList(
            _level(inputs, outputs, config.discriminator_depth) for inputs, outputs in pairwise(channels)
        )
        self.neck = nn.Conv2d(channels[-1], 128, 3, padding=1)
        self.realness = nn.Conv2d(128, 1, 4, padding=1)
        self.attributes = nn.Sequential(
            nn.Conv2d(128, 128, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Conv2d(128, attributes, 4)
        )
        embedding = config.identity_head == "embedding"
        self.identity = nn.Linear(128 * 8 * 8, EMBEDDING if embedding else identities)
        self.classes = nn.Linear(EMBEDDING, identities, bias=False) if embedding else None

    def forward(self, image: Tensor) -> DiscriminatorOutput:
        """Judge pictures (B, 3, S, S) in [-1, 1]."""
        features = []
        x = image
        for level in self.trunk:
            x = level(x)
            features.append(x)
        x = F.relu_(self.neck(x))
        identity = self.identity(x.flatten(1))
        if self.classes is not None:
            identity = F.normalize(identity.float(), dim=1)
        return DiscriminatorOutput(self.realness(x), self.attributes(x).flatten(1).sigmoid(), identity, features)

    def identity_logits(self, identity: Tensor) -> Tensor:
        """(B, identities) class logits of a `DiscriminatorOutput.identity`."""
        if self.classes is None:
            return identity
        return F.linear(identity, F.normalize(self.classes.weight, dim=1)) / TEMPERATURE


def _level(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions with ReLU, the first of which halves the picture."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
