"""One batch of training pairs, from uint8 pictures on the loader's side to floats on the device."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from icface.pixels import to_range
from icface.training.distributed import mean_over_ranks, world


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Source and driving frames of one track each; B pairs, n attributes, S x S pictures."""

    source: Tensor
    """(B, 3, S, S) uint8 RGB."""
    driving: Tensor
    """(B, 3, S, S) uint8 RGB: the target."""
    neutral: Tensor
    """(B, 3, S, S) uint8 RGB: the track's most neutral frame, where `has_neutral`."""
    has_neutral: Tensor
    """(B,) bool: the track has a frame near enough to neutral to be the neutraliser's target."""
    source_encoded: Tensor
    """(B, n) float32 in [0, 1]; the neutral code where not measured."""
    driving_encoded: Tensor
    """(B, n) float32 in [0, 1]; the neutral code where not measured."""
    source_measured: Tensor
    """(B, n) bool."""
    driving_measured: Tensor
    """(B, n) bool."""
    driving_landmarks: Tensor
    """(B, 68, 2) float32: the driving frame's landmarks, fractions of the picture."""
    source_landmarks: Tensor
    """(B, 68, 2) float32: the source frame's."""
    neutral_landmarks: Tensor
    """(B, 68, 2) float32: the neutral frame's, where `has_neutral`."""
    identity: Tensor
    """(B,) int64: index among the training identities."""

    def __len__(self) -> int:
        return len(self.identity)

    @classmethod
    def example(
        cls, count: int, size: int, attributes: int, identities: int, seed: int = 0, **given: Tensor
    ) -> "Batch":
        """Random pairs of the shapes, types and ranges above, for tests and benchmarks: noise, not faces.

        `count` B, `size` S, `attributes` n, `identities` people. All is measured, and every other pair has a neutral
        frame. `given` replaces fields. Equal arguments give equal batches.
        """
        draw = torch.Generator().manual_seed(seed)

        def picture() -> Tensor:
            return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=draw)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(count, *shape, generator=draw)

        values = {
            "source": picture(),
            "driving": picture(),
            "neutral": picture(),
            "has_neutral": torch.arange(count) % 2 == 0,
            "source_encoded": uniform(attributes),
            "driving_encoded": uniform(attributes),
            "source_measured": torch.ones(count, attributes, dtype=torch.bool),
            "driving_measured": torch.ones(count, attributes, dtype=torch.bool),
            "driving_landmarks": uniform(68, 2),
            "source_landmarks": uniform(68, 2),
            "neutral_landmarks": uniform(68, 2),
            "identity": torch.randint(0, identities, (count,), generator=draw),
        }
        return cls(**(values | given))

    def to(self, device: torch.device, trained: Tensor | None = None) -> "DeviceBatch":
        """Move to the device; pictures become float32 in [-1, 1]. `trained` (n,) bool, all by default."""
        moved = {item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(Batch)}
        for name in ("source", "driving", "neutral"):
            moved[name] = to_range(moved[name], torch.channels_last)
        measured = moved["driving_measured"]
        if trained is not None:
            measured = measured & trained
        return DeviceBatch(**moved, driving_weight=mean_weights(measured))


@dataclass(frozen=True, kw_only=True)
class DeviceBatch(Batch):
    """A batch whose pictures are float32 in [-1, 1] on the training device."""

    driving_weight: Tensor
    """(B, n) float32: weights of the driving attributes in a mean over those measured and trained (`mean_weights`)."""

    def parts(self, count: int) -> "list[DeviceBatch]":
        """Equal slices, one after the other; the mean of their mean losses is the whole batch's mean loss."""
        if len(self) % count:
            raise ValueError(f"{len(self)} pairs cannot be parted into {count}")
        if count == 1:
            return [self]
        pieces = {item.name: getattr(self, item.name).chunk(count) for item in fields(self)}
        pieces["driving_weight"] = tuple(piece * count for piece in pieces["driving_weight"])
        return [DeviceBatch(**{name: piece[index] for name, piece in pieces.items()}) for index in range(count)]


def mean_weights(measured: Tensor) -> Tensor:
    """(B, n) float32: weights with which `(values * weights).sum()` is the mean of values (B, n) where `measured`.

    Under several ranks the count is the ranks' mean, so that the mean of the ranks' gradients is the gradient of the
    whole batch's mean. Where nothing is measured all weights are 0.

    >>> mean_weights(torch.tensor([[True, False], [True, False]])).tolist()
    [[0.5, 0.0], [0.5, 0.0]]
    """
    count = mean_over_ranks(measured.sum())
    return measured / count.clamp(min=1 / world()[1])
