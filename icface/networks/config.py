"""What the networks look like. Light to import: no torch here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of the neutraliser, the generator and the discriminator."""

    architecture: Literal["warp", "resnet"] = "warp"
    """`resnet`: the paper's (CycleGAN's). `warp`: moves the input's own pixels and paints the rest."""
    size: int = 128
    """Width and height of the pictures, px."""
    width: int = 64
    """Channels of the generators' first level (ngf)."""
    blocks: int = 6
    """Residual blocks at the generators' lowest resolution."""
    encoder: bool = False
    """Put the paper's image encoder I_E before the generator."""
    dropout: float = 0.0
    """Dropout between the convolutions of a residual block. The paper's code has 0.5."""
    attribute_gain: float = 1.0
    """Factor on the attributes (-1..1) before they enter a `warp` network."""
    neutraliser_input: Literal["neutral", "change"] = "neutral"
    """What the neutraliser is told, coded. `neutral`: the neutral face's attributes (the paper's constant). `change`:
    0.5 + (neutral - source) / 2, how far each attribute has to move; 0.5 leaves it."""
    painting: Literal["unfolded", "smooth"] = "unfolded"
    """How a `warp` network paints: four pixels at a time, or the same averaged over neighbours, without a chequer."""
    pixels_from: Literal["neutral", "source"] = "neutral"
    """Where a `warp` generator fetches what it moves. `neutral`: from the neutral picture, so pixels are sampled twice.
    `source`: from the source through both networks' flows, once, which is sharper."""
    flow_basis: int = 0
    """Side, in cells, of the flow field that each attribute adds in a `warp` network. 0: no fields."""
    discriminator_width: int = 64
    """Channels of the discriminator's first level (ndf)."""
    discriminator_depth: int = 1
    """3x3 convolutions per level of the discriminator. The paper has 2, with width 256 (85 M parameters)."""
    identity_head: Literal["embedding", "softmax"] = "embedding"
    """`softmax`: a linear class score per identity (the paper's). `embedding`: 256 values, normalised softmax."""

    @property
    def layered(self) -> bool:
        """Whether the generator takes what is behind the neutral picture too (`icface.networks.warp.Warped.layers`)."""
        return self.pixels_from == "source" and self.architecture == "warp"

    def __post_init__(self) -> None:
        if self.size not in (32, 64, 128, 256):
            raise ValueError(f"model.size must be 32, 64, 128 or 256, not {self.size}")
        for name in ("width", "blocks", "discriminator_width", "discriminator_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, not {getattr(self, name)}")
        if self.encoder and self.architecture != "resnet":
            raise ValueError("model.encoder is the paper's I_E and goes with model.architecture resnet")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must lie in 0..1, not {self.dropout}")
        if self.flow_basis < 0:
            raise ValueError(f"model.flow_basis must not be negative: {self.flow_basis}")
        if self.attribute_gain <= 0:
            raise ValueError(f"model.attribute_gain must be positive, not {self.attribute_gain}")
