"""Who looks at the pictures of an evaluation, and what is found in them: one path for pictures of every origin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Analyzer, Face
from icface.arrays import Labels, Pictures
from icface.attributes import label_names
from icface.evaluation.pairs import Points
from icface.metrics.realism import Extractor

EMBEDDING = 128

Embedder = Callable[[Pictures, Points], npt.NDArray[np.float64]]
"""A picture (S, S, 3) uint8 RGB and its landmarks (68, 2), fractions of it -> what tells people apart (128,)."""


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Pictures and what is found in them."""

    pictures: Pictures
    """(N, S, S, 3) uint8 RGB."""
    labels: Mapping[str, Labels]
    """analyzer -> (N, 20) raw, (N, 36) with sides; NaN where not measured, all NaN where no face is found.

    The first one's name is "".
    """
    landmarks: Points
    """(N, 68, 2) by the first analyzer, fractions of the picture; NaN where no face is found."""
    embeddings: npt.NDArray[np.float64]
    """(N, 128); NaN where the face was not embedded."""

    def row(self, index: int) -> "Faces":
        """One of them, N = 1."""
        only = slice(index, index + 1)
        return Faces(
            pictures=self.pictures[only],
            labels={opinion: labels[only] for opinion, labels in self.labels.items()},
            landmarks=self.landmarks[only],
            embeddings=self.embeddings[only],
        )

    @classmethod
    def stacked(cls, faces: Sequence["Faces"]) -> "Faces":
        """All of them, in their order; at least one."""
        return cls(
            pictures=np.concatenate([face.pictures for face in faces]),
            labels={name: np.concatenate([face.labels[name] for face in faces]) for name in faces[0].labels},
            landmarks=np.concatenate([face.landmarks for face in faces]),
            embeddings=np.concatenate([face.embeddings for face in faces]),
        )


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Whoever looks at the pictures."""

    analyzer: Analyzer
    second: Analyzer | None = None
    """Gives a second opinion, under its name."""
    embedder: Embedder | None = None
    """Tells people apart; slow."""
    embed_every: int = 1
    """Every such pair of a source and track is embedded, and every such attribute that is stepped alone."""
    features: Extractor | None = None
    """Features in which sets of pictures are compared."""
    sides: bool = False
    """Whether left and right are measured apart, for pairs that have them."""

    def __call__(self, pictures: Pictures, embed: Sequence[bool] | None = None) -> Faces:
        """`embed` (N,): of which faces the person is told; of none by default."""
        faces = largest_faces(self.analyzer, pictures)
        embeddings = np.full((len(faces), EMBEDDING), np.nan)
        points = np.full((len(faces), 68, 2), np.nan, np.float32)
        for index, face in enumerate(faces):
            if face is None:
                continue
            points[index] = face.landmarks / pictures.shape[1]
            if self.embedder is not None and embed is not None and embed[index]:
                embeddings[index] = self.embedder(pictures[index], points[index])
        labels = {"": labels_of(faces, self.sides)}
        if self.second is not None:
            labels[self.second.name] = labels_of(largest_faces(self.second, pictures), self.sides)
        return Faces(pictures=pictures, labels=labels, landmarks=points, embeddings=embeddings)


def largest_faces(analyzer: Analyzer, pictures: Pictures) -> list[Face | None]:
    """The largest face in each of (N, S, S, 3) uint8 RGB; None where there is none."""
    largest: list[Face | None] = []
    for start in range(0, len(pictures), analyzer.batch_size):
        batch = pictures[start : start + analyzer.batch_size]
        found = analyzer.analyze(batch, range(start, start + len(batch)), "evaluation")
        largest += [faces[0] if faces else None for faces in found]
    return largest


def labels_of(faces: Sequence[Face | None], sides: bool = False) -> Labels:
    """(N, 20) float32 attributes of faces, (N, 36) with `sides`; all NaN where there is none."""
    unknown = np.full(len(label_names(sides)), np.nan, np.float32)
    return np.stack([unknown if face is None else face.labels(sides) for face in faces])
