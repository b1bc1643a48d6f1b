"""What is measured of each pair: one path for whoever made the pictures, a model or a folder of frames."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Analyzer, Face
from icface.arrays import Labels, Pictures
from icface.attributes import ATTRIBUTE_NAMES, label_names
from icface.evaluation.pairs import EvaluationPair, Points
from icface.evaluation.rendering import ModelRenderer, Renderer, sized
from icface.evaluation.response import Sweep, sweeps
from icface.metrics.landmarks import eye_boxes, landmark_distance, mouth_boxes
from icface.metrics.pictures import (
    HIGHEST_PSNR,
    MS_SSIM_SIZE,
    box_l1,
    box_psnr,
    l1,
    laplacian_variance,
    ms_ssim,
    psnr,
    similarity,
)
from icface.metrics.realism import Extractor

BATCH = 16
"""Pairs reenacted at a time."""
EMBEDDING = 128
PIXELS = ("face_l1", "l1", "face_psnr", "psnr", "face_ssim", "ssim", "ms_ssim", "eyes_l1", "mouth_l1", "laplacian")
"""Measured against the driving frame, of each pair of kind `self`."""

Embedder = Callable[[Pictures, Points], npt.NDArray[np.float64]]
"""A picture (S, S, 3) uint8 RGB and its landmarks (68, 2), fractions of it -> what tells people apart (128,)."""
Columns = dict[str, npt.NDArray[Any]]
"""A table: columns (N, ...) by name."""


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Pictures and what is found in them."""

    pictures: Pictures
    """(N, S, S, 3) uint8 RGB."""
    labels: Mapping[str, Labels]
    """analyzer -> (N, 20) raw; NaN where not measured, all NaN where no face is found. The first one's name is ""."""
    landmarks: Points
    """(N, 68, 2) by the first analyzer, fractions of the picture; NaN where no face is found."""
    embeddings: npt.NDArray[np.float64]
    """(N, 128); NaN where the face was not embedded."""


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Whoever looks at the pictures."""

    analyzer: Analyzer
    second: Analyzer | None = None
    """Gives a second opinion, under its name."""
    embedder: Embedder | None = None
    """Tells people apart; slow."""
    embed_every: int = 1
    """Every such pair of a source and track is embedded."""
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


@dataclass(frozen=True, kw_only=True)
class SourceSweep:
    """Single attributes stepped on one neutral face."""

    group: str
    swept: list[Sweep]


@dataclass(kw_only=True)
class Measurements:
    """What was measured of some of the pairs."""

    pairs: Columns = field(default_factory=dict)
    """One row a pair; `REFERENCE:METRIC` and `REFERENCE:ANALYZER:found` beside what the pair asks for."""
    sources: Columns = field(default_factory=dict)
    """One row a source and group."""
    swept: list[SourceSweep] = field(default_factory=list)
    clamped: npt.NDArray[np.int64] | None = None
    """(n,) values asked for outside the schema's range."""

    @classmethod
    def joined(cls, parts: Sequence["Measurements"]) -> "Measurements":
        """All parts, in their order."""
        clamped = [part.clamped for part in parts if part.clamped is not None]
        return cls(
            pairs=concatenated([part.pairs for part in parts]),
            sources=concatenated([part.sources for part in parts]),
            swept=[one for part in parts for one in part.swept],
            clamped=np.sum(clamped, axis=0) if clamped else None,
        )

    def group(self, name: str) -> "Measurements":
        """Those of one group of pairs."""
        return Measurements(
            pairs=chosen(self.pairs, self.pairs["group"] == name),
            sources=chosen(self.sources, self.sources["group"] == name),
            swept=[one for one in self.swept if one.group == name],
        )


def concatenated(tables: Sequence[Columns]) -> Columns:
    """The tables' rows one after another; all have the same columns."""
    filled = [table for table in tables if table]
    return {name: np.concatenate([table[name] for table in filled]) for name in filled[0]} if filled else {}


def chosen(table: Columns, rows: npt.NDArray[Any]) -> Columns:
    """Some rows of a table, by mask or number."""
    return {name: column[rows] for name, column in table.items()}


def measure(
    renderer: Renderer,
    pairs: Iterable[EvaluationPair],
    measurer: Measurer,
    *,
    stepped: Collection[tuple[str, str]] = (),
    values: Mapping[str, npt.NDArray[np.float32]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurements:
    """Render `pairs` and measure what came out, at the renderer's size.

    A model is also asked for each source's own attributes, and `values` are stepped on the neutral faces of the
    sources in `stepped` (group, key). `progress` is told the pairs done. Raises IcfaceError when the renderer has an
    attribute that is none of `ATTRIBUTE_NAMES`.
    """
    parts: list[Measurements] = []
    sources: dict[tuple[str, str], Faces] = {}
    features: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
    seen: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    done = 0
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        rendered = renderer.render(batch)
        keys = [(pair.group, pair.source_key) for pair in batch]
        fresh = {key: index for index, key in enumerate(keys) if key not in sources}
        sources = {key: sources[key] for key in keys if key in sources}
        part = Measurements(clamped=rendered.clamped)
        if fresh:
            firsts = [keys.index(key) for key in fresh]
            neutral = None if rendered.neutral is None else rendered.neutral[firsts]
            part.sources, found = _sources(renderer, [batch[index] for index in firsts], neutral, measurer)
            sources |= {key: _row(found, index) for index, key in enumerate(fresh)}
            part.swept = [
                _sweep(renderer, batch[index], measurer, values or {}) for index in firsts if keys[index] in stepped
            ]
        embed = []
        for pair in batch:
            place = (pair.group, pair.source_key, pair.track)
            embed.append(seen[place] % measurer.embed_every == 0)
            seen[place] += 1
        outputs = measurer(rendered.pictures, embed)
        driving = measurer(sized([pair.driving for pair in batch], renderer.size), embed)
        copied = _stacked([sources[key] for key in keys])
        part.pairs = _pairs(batch, renderer, {"model": outputs, "copy_source": copied, "noise_floor": driving})
        if measurer.features is not None:
            for key in {key for key in keys if key not in features}:
                features[key] = measurer.features(sources[key].pictures)
            part.pairs["model:features"] = measurer.features(outputs.pictures)
            part.pairs["noise_floor:features"] = measurer.features(driving.pictures)
            part.pairs["copy_source:features"] = np.concatenate([features[key] for key in keys])
        parts.append(part)
        done += len(batch)
        if progress is not None:
            progress(done)
    return Measurements.joined(parts)


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


def pixel_scores(pictures: Pictures, targets: Pictures, pairs: Sequence[EvaluationPair]) -> Columns:
    """`PIXELS` of pictures (N, S, S, 3) against the driving frames at their size: (N,) each."""
    boxes = np.stack([pair.box for pair in pairs])
    points = np.stack([pair.landmarks for pair in pairs])
    if pictures is targets:  # the real frames themselves: only their sharpness is not known beforehand
        zero, one = np.zeros(len(pairs)), np.ones(len(pairs))
        return {
            **dict.fromkeys(("face_l1", "l1"), zero),
            **dict.fromkeys(("face_psnr", "psnr"), one * HIGHEST_PSNR),
            **dict.fromkeys(("face_ssim", "ssim"), one),
            "ms_ssim": one if pictures.shape[1] >= MS_SSIM_SIZE else one * np.nan,
            **dict.fromkeys(("eyes_l1", "mouth_l1"), np.where(np.isfinite(points).all(axis=(1, 2)), 0.0, np.nan)),
            "laplacian": laplacian_variance(pictures, boxes),
        }
    structure = similarity(pictures, targets, boxes)
    return {
        "face_l1": box_l1(pictures, targets, boxes),
        "l1": l1(pictures, targets),
        "face_psnr": box_psnr(pictures, targets, boxes),
        "psnr": psnr(pictures, targets),
        "face_ssim": structure.box,
        "ssim": structure.whole,
        "ms_ssim": ms_ssim(pictures, targets),
        "eyes_l1": _known_l1(pictures, targets, eye_boxes(points)),
        "mouth_l1": _known_l1(pictures, targets, mouth_boxes(points)),
        "laplacian": laplacian_variance(pictures, boxes),
    }


def _known_l1(pictures: Pictures, targets: Pictures, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(boxes).all(axis=1)
    result = np.full(len(pictures), np.nan)
    if known.any():
        result[known] = box_l1(pictures[known], targets[known], boxes[known])
    return result


def _pairs(batch: Sequence[EvaluationPair], renderer: Renderer, faces: Mapping[str, Faces]) -> Columns:
    """The rows of the pairs of a batch."""
    count = len(batch)
    expected = np.stack([pair.expected(renderer.baselines) for pair in batch])
    attributes = np.stack([pair.attributes for pair in batch])
    own = np.stack([pair.source_attributes for pair in batch])
    targets = faces["noise_floor"].pictures
    yaw = ATTRIBUTE_NAMES.index("pose_yaw")
    rows: Columns = {
        **{name: _text([getattr(p, name) for p in batch]) for name in ("key", "group", "kind", "track", "source_key")},
        "person": _text([pair.person for pair in batch]),
        "asked": expected,
        "own": own,
        "turn": np.degrees(np.abs(attributes[:, yaw] - own[:, yaw])),
        "retrieval::found": np.stack([pair.retrieved_attributes for pair in batch]),
    }
    compared = np.array([pair.kind == "self" for pair in batch])
    for reference, found in faces.items():
        for opinion, labels in found.labels.items():
            # The driver's zero for the source's: nothing where they are one person.
            shift = expected - attributes if reference == "noise_floor" else 0
            rows[f"{reference}:{opinion}:found"] = (labels + shift).astype(np.float32)
        apart = np.linalg.norm(found.embeddings - faces["copy_source"].embeddings, axis=1)
        # The source was embedded once: its distance from itself belongs to the pairs that others were embedded of.
        rows[f"{reference}:identity"] = np.where(np.isfinite(faces["model"].embeddings[:, 0]), apart, np.nan)
        real = np.stack([pair.landmarks for pair in batch])
        rows[f"{reference}:landmark_distance"] = np.where(compared, landmark_distance(found.landmarks, real), np.nan)
        pixels = pixel_scores(found.pictures, targets, batch)
        rows |= {f"{reference}:{name}": np.where(compared, column, np.nan) for name, column in pixels.items()}
    rows |= {f"retrieval:{name}": np.full(count, np.nan) for name in PIXELS}
    known = [index for index, pair in enumerate(batch) if pair.retrieved is not None and pair.kind == "self"]
    if known:
        pictures = sized([batch[index].retrieved for index in known], renderer.size)  # type: ignore[misc]
        for name, column in pixel_scores(pictures, targets[known], [batch[index] for index in known]).items():
            rows[f"retrieval:{name}"][known] = column
    return rows


def _sources(
    renderer: Renderer, pairs: Sequence[EvaluationPair], neutral: Pictures | None, measurer: Measurer
) -> tuple[Columns, Faces]:
    """The rows of sources, one a pair of `pairs`, and what is found in the source pictures."""
    crops = sized([pair.source for pair in pairs], renderer.size)
    found = measurer(crops, [True] * len(pairs))
    rows: Columns = {
        "group": _text([pair.group for pair in pairs]),
        "person": _text([pair.person for pair in pairs]),
        "source_key": _text([pair.source_key for pair in pairs]),
        "source:pictures": crops,
        "source:embedding": found.embeddings,
    }
    rows |= {f"source:{opinion}:found": labels for opinion, labels in found.labels.items()}
    if neutral is None:
        return rows, found
    relaxed = measurer(neutral)
    rows |= {f"neutral:{opinion}:found": labels for opinion, labels in relaxed.labels.items()}
    rows["neutral:pictures"] = neutral
    if not isinstance(renderer, ModelRenderer):  # what was made elsewhere answers the pairs alone
        return rows, found
    still = [
        replace(
            pair,
            driving=pair.source,
            attributes=pair.source_attributes,
            driving_baseline=pair.source_baseline,
        )
        for pair in pairs
    ]
    kept = measurer(renderer.render(still).pictures)
    rows["zero:l1"] = l1(kept.pictures, crops)
    rows |= {f"zero:{opinion}:found": labels for opinion, labels in kept.labels.items()}
    return rows, found


def _sweep(
    renderer: Renderer,
    pair: EvaluationPair,
    measurer: Measurer,
    values: Mapping[str, npt.NDArray[np.float32]],
) -> SourceSweep:
    assert isinstance(renderer, ModelRenderer), "only a model can be asked for more than the pairs"
    neutral = renderer.neutral([pair])
    swept = sweeps(renderer.model, neutral, values, lambda pictures: measurer(pictures).labels)
    return SourceSweep(group=pair.group, swept=[replace(sweep, people=(pair.person,)) for sweep in swept])


def _row(faces: Faces, index: int) -> Faces:
    only = slice(index, index + 1)
    return Faces(
        pictures=faces.pictures[only],
        labels={opinion: labels[only] for opinion, labels in faces.labels.items()},
        landmarks=faces.landmarks[only],
        embeddings=faces.embeddings[only],
    )


def _stacked(faces: Sequence[Faces]) -> Faces:
    return Faces(
        pictures=np.concatenate([face.pictures for face in faces]),
        labels={name: np.concatenate([face.labels[name] for face in faces]) for name in faces[0].labels},
        landmarks=np.concatenate([face.landmarks for face in faces]),
        embeddings=np.concatenate([face.embeddings for face in faces]),
    )


def _text(values: Sequence[str]) -> npt.NDArray[Any]:
    return np.array(values, dtype=object)
