"""What an analyzer says of one face, and the protocol that every analyzer follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES, sides_from_blendshapes
from icface.attributes import ATTRIBUTE_NAMES, label_names


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face in one frame."""

    landmarks: npt.NDArray[np.float32]
    """(68, 2) iBUG order, source pixels."""
    attributes: npt.NDArray[np.float32]
    """(20,) in the order of `ATTRIBUTE_NAMES`: pose in radians, AUs 0..5, NaN where not measured."""
    confidence: float
    """0..1."""
    blendshapes: npt.NDArray[np.float32] | None = None
    """(52,) 0..1 in MediaPipe's order, where the analyzer has them."""
    face_matrix: npt.NDArray[np.float32] | None = None
    """(16,) row-major 4x4 transformation of the canonical face, where the analyzer has it."""

    def __post_init__(self) -> None:
        if self.landmarks.shape != (68, 2):
            raise ValueError(f"landmarks must be (68, 2), not {self.landmarks.shape}")
        if self.attributes.shape != (len(ATTRIBUTE_NAMES),):
            raise ValueError(f"attributes must be ({len(ATTRIBUTE_NAMES)},), not {self.attributes.shape}")

    def labels(self, sides: bool = False) -> npt.NDArray[np.float32]:
        """`attributes`; with `sides` (36,) in the order of `LABEL_NAMES`, sides NaN where there are no blendshapes."""
        if not sides:
            return self.attributes
        shapes = np.full(len(BLENDSHAPE_NAMES), np.nan) if self.blendshapes is None else self.blendshapes
        return np.concatenate([self.attributes, sides_from_blendshapes(shapes)[0]])

    def values(self, sides: bool = False) -> dict[str, float]:
        """`labels` by name."""
        return dict(zip(label_names(sides), self.labels(sides).tolist(), strict=True))

    @property
    def box(self) -> npt.NDArray[np.float32]:
        """(4,) x, y, width, height of the landmarks' bounding box, source pixels."""
        low, high = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return np.concatenate([low, high - low]).astype(np.float32)


class Analyzer(Protocol):
    """Measures faces in frames.

    `analyze` is called with consecutive frames of one clip at most `batch_size` at a time; a batch never crosses clips.
    Its result for a frame does not depend on the other frames of the batch, unless the analyzer says so. A second look
    (`second_look`) searches around the faces of neighbouring frames.
    """

    name: str
    measures: frozenset[str]
    """Names of the attributes that it measures; the others are NaN."""
    fingerprint: str
    """Identifies weights and mapping: equal fingerprints mean equal labels."""
    batch_size: int

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces in each of `frames` (N, H, W, 3) uint8 RGB: N lists, largest face first.

        `frame_indices` are the frames' positions in `clip`; analyzers that read labels from files use them.
        """
        ...

    def close(self) -> None:
        """Give back what the analyzer holds."""
        ...


@runtime_checkable
class LabelsFromFiles(Protocol):
    """An analyzer that reads labels made beforehand, and knows how many frames were looked at then."""

    def frames(self, clip: str) -> int:
        """Number of frames of `clip` (identity/video/stem) that there are labels of."""
        ...
