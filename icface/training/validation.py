"""What a training looks at besides its batches: real frames that it does not learn from.

An attribute that D cannot read off real frames is noise in G's loss, and a neutraliser that gives everybody the same
face has collapsed. Both are seen here, on the same frames each time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from icface.attributes import AU_RANGE, AttributeSchema
from icface.bundle import ICface
from icface.networks.discriminator import Discriminator
from icface.pixels import to_range

PART = 32
"""Frames looked at together."""
LEAST_DEVIATION = 0.01
"""Coded: an attribute that varies less over the frames has no r."""


@dataclass(frozen=True, kw_only=True)
class RealFrames:
    """Real frames with their labels."""

    pictures: Tensor
    """(N, 3, S, S) uint8 RGB."""
    encoded: Tensor
    """(N, n) float32 in [0, 1]; the neutral code where not measured."""
    measured: Tensor
    """(N, n) bool."""
    identity: Tensor
    """(N,) int64: equal numbers, one person; the numbers mean nothing else."""

    def to(self, device: torch.device) -> "RealFrames":
        """The same frames on another device."""
        return RealFrames(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class ValidationMetrics:
    """What was seen on the frames."""

    r: Tensor
    """(n,) Pearson's r of what D reads and the labels; NaN where the labels hardly vary."""
    neutral_variance: float | None
    """Variance between people's mean neutral faces over that of the sources; 0 is one face for everybody. None where
    the frames show one person, who says nothing about it."""
    neutral_units: float
    """Sum of the action units (0..5 each) that D reads in the neutral faces; the evaluation asks the analyzer."""

    def reliable_attributes(self, least: float) -> Tensor:
        """(n,) float32, 1 where D's r is `least` or more, else 0; a `least` of 0 takes everything."""
        return torch.ones_like(self.r) if least == 0 else (self.r.nan_to_num(0.0) >= least).float()

    def metrics(self, schema: AttributeSchema) -> dict[str, float]:
        """For the log: `D/r/AU12` and the others that have an r, `N/variance` where it says something, `N/units`."""
        r = {f"D/r/{name}": value for name, value in zip(schema.names, self.r.tolist(), strict=True) if value == value}
        variance = {} if self.neutral_variance is None else {"N/variance": self.neutral_variance}
        return {**r, **variance, "N/units": self.neutral_units}


@torch.no_grad()
def validate(model: ICface, discriminator: Discriminator, frames: RealFrames) -> ValidationMetrics:
    """Look at `frames`, which lie on the networks' device; `model` is in eval mode (averaged weights)."""
    units = [index for index, name in enumerate(model.schema.names) if name.startswith("AU")]
    read, sources, neutrals, leaks = [], [], [], []
    for pictures, encoded in zip(frames.pictures.split(PART), frames.encoded.split(PART), strict=True):
        real = to_range(pictures)
        neutral = model.neutralise(real, encoded)[:, :3].float()
        read.append(discriminator(real).attributes.float())
        leaks.append(discriminator(neutral).attributes.float()[:, units])
        sources.append(real)
        neutrals.append(neutral)
    between_sources, between_neutrals = (_between(torch.cat(faces), frames.identity) for faces in (sources, neutrals))
    return ValidationMetrics(
        r=correlation(torch.cat(read), frames.encoded, frames.measured),
        neutral_variance=between_neutrals / between_sources if between_sources > 0 else None,
        neutral_units=float(torch.cat(leaks).sum(dim=1).mean()) * AU_RANGE,
    )


def correlation(read: Tensor, encoded: Tensor, measured: Tensor) -> Tensor:
    """(n,) Pearson's r of `read` and `codes` (N, n) where `measured`; NaN where either hardly varies."""
    count = measured.sum(dim=0)
    read, encoded = read.double(), encoded.double()
    a, b = (
        torch.where(measured, values - torch.where(measured, values, 0).sum(dim=0) / count, 0)
        for values in (read, encoded)
    )
    products = (a * b).sum(dim=0) / (a.square().sum(dim=0) * b.square().sum(dim=0)).sqrt()
    deviation = (b.square().sum(dim=0) / count).sqrt()
    return torch.where(deviation >= LEAST_DEVIATION, products, float("nan")).float()


def _between(faces: Tensor, identity: Tensor) -> float:
    """Variance between the people's mean faces, mean over the pixels; 0 for one person."""
    people = torch.stack([faces[identity == person].mean(dim=0) for person in identity.unique()])
    return float(people.var(dim=0, unbiased=False).mean())
