"""One batch of training pairs, from uint8 pictures on the loader's side to floats on the device."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


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
    source_code: Tensor
    """(B, n) float32 in [0, 1]; the neutral code where not measured."""
    driving_code: Tensor
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

    def to(self, device: torch.device) -> "DeviceBatch":
        """Move to the device; pictures become float32 in [-1, 1]."""
        moved = {item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)}
        for name in ("source", "driving", "neutral"):
            moved[name] = moved[name].float() / 127.5 - 1
        return DeviceBatch(**moved)


@dataclass(frozen=True, kw_only=True)
class DeviceBatch(Batch):
    """A batch whose pictures are float32 in [-1, 1] on the training device."""
