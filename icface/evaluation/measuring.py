"""What is measured of each pair: one path for whoever made the pictures, a model or a folder of frames."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.arrays import Pictures
from icface.attributes import ATTRIBUTE_NAMES
from icface.evaluation.faces import Faces, Measurer
from icface.evaluation.measurements import Columns, Measurements, Moments, SourceSweep, added, moments_of
from icface.evaluation.pairs import EvaluationPair
from icface.evaluation.pixel_scores import PIXELS, pixel_scores
from icface.evaluation.rendering import ModelRenderer, Renderer, sized
from icface.evaluation.sweeps import sweeps
from icface.metrics.landmarks import landmark_distance
from icface.metrics.pictures import l1

BATCH = 16
"""Pairs reenacted at a time."""


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
    moments: Moments = {}
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
            moments = added(moments, _moments([key[0] for key in fresh], found.pictures, neutral))
            sources |= {key: found.row(index) for index, key in enumerate(fresh)}
            part.swept = [
                _sweep(renderer, batch[index], sources[keys[index]], measurer, values or {})
                for index in firsts
                if keys[index] in stepped
            ]
        embed = []
        for pair in batch:
            place = (pair.group, pair.source_key, pair.track)
            embed.append(seen[place] % measurer.embed_every == 0)
            seen[place] += 1
        outputs = measurer(rendered.pictures, embed)
        driving = measurer(sized([pair.driving for pair in batch], renderer.size), embed)
        copied = Faces.stacked([sources[key] for key in keys])
        part.pairs = _pairs(batch, renderer, {"model": outputs, "copy_source": copied, "noise_floor": driving})
        if measurer.features is not None:
            unseen = [key for key in dict.fromkeys(keys) if key not in features]
            pictures = [outputs.pictures, driving.pictures, *(sources[key].pictures for key in unseen)]
            made, real, *of_sources = np.split(
                measurer.features(np.concatenate(pictures)), np.cumsum([len(each) for each in pictures[:-1]])
            )
            features |= dict(zip(unseen, of_sources, strict=True))
            part.pairs["model:features"], part.pairs["noise_floor:features"] = made, real
            part.pairs["copy_source:features"] = np.concatenate([features[key] for key in keys])
        parts.append(part)
        done += len(batch)
        if progress is not None:
            progress(done)
    return replace(Measurements.joined(parts), moments=moments)


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
    own_face = [index for index, pair in enumerate(batch) if pair.kind == "self"]
    # Real frames and what is held against them, of the pairs that have one: others have no scores of pixels.
    real = targets[own_face]
    points = np.stack([pair.landmarks for pair in batch])
    for reference, found in faces.items():
        for opinion, labels in found.labels.items():
            # The driver's zero for the source's: nothing where they are one person.
            shift = expected - attributes if reference == "noise_floor" else 0
            rows[f"{reference}:{opinion}:found"] = (labels + shift).astype(np.float32)
        apart = np.linalg.norm(found.embeddings - faces["copy_source"].embeddings, axis=1)
        # The source was embedded once: its distance from itself belongs to the pairs that others were embedded of.
        rows[f"{reference}:identity"] = np.where(np.isfinite(faces["model"].embeddings[:, 0]), apart, np.nan)
        distance = landmark_distance(found.landmarks, points)
        rows[f"{reference}:landmark_distance"] = _spread_out(distance[own_face], own_face, count)
        made = real if reference == "noise_floor" else found.pictures[own_face]
        rows |= _pixels(reference, made, real, own_face, batch)
    known = [index for index in own_face if batch[index].retrieved is not None]
    pictures = [batch[index].retrieved for index in known]
    looked_up = sized(pictures, renderer.size) if known else targets[:0]  # type: ignore[arg-type]
    rows |= _pixels("retrieval", looked_up, targets[known], known, batch)
    return rows


def _pixels(
    reference: str, made: Pictures, real: Pictures, rows: Sequence[int], batch: Sequence[EvaluationPair]
) -> Columns:
    """Columns of `PIXELS`, a value for each pair of the batch: `made` and `real` (n, S, S, 3) are those of `rows`."""
    if not rows:
        return {f"{reference}:{name}": np.full(len(batch), np.nan) for name in PIXELS}
    scores = pixel_scores(made, real, [batch[index] for index in rows])
    return {f"{reference}:{name}": _spread_out(column, rows, len(batch)) for name, column in scores.items()}


def _spread_out(values: npt.NDArray[np.float64], rows: Sequence[int], count: int) -> npt.NDArray[np.float64]:
    """(count,) with the values (n,) in `rows`; NaN elsewhere."""
    column = np.full(count, np.nan)
    column[rows] = values
    return column


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
        "source:embedding": found.embeddings,
    }
    rows |= {f"source:{opinion}:found": labels for opinion, labels in found.labels.items()}
    if neutral is None:
        return rows, found
    relaxed = measurer(neutral)
    rows |= {f"neutral:{opinion}:found": labels for opinion, labels in relaxed.labels.items()}
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


def _moments(groups: Sequence[str], crops: Pictures, neutral: Pictures | None) -> Moments:
    """How much sources and neutral faces differ from each other; nothing where there are no neutral faces."""
    return {} if neutral is None else moments_of(groups, "source", crops) | moments_of(groups, "neutral", neutral)


def _sweep(
    renderer: Renderer,
    pair: EvaluationPair,
    source: Faces,
    measurer: Measurer,
    values: Mapping[str, npt.NDArray[np.float32]],
) -> SourceSweep:
    assert isinstance(renderer, ModelRenderer), "only a model can be asked for more than the pairs"
    neutral = renderer.neutral([pair])
    embedded = looked_at(list(values), pair.source_key, measurer)
    swept = sweeps(renderer.model, neutral, values, measurer, embedded=embedded, sources=source.embeddings)
    return SourceSweep(group=pair.group, swept=[replace(sweep, people=(pair.person,)) for sweep in swept])


def looked_at(names: Sequence[str], source_key: str, measurer: Measurer) -> list[str]:
    """The attributes of one source's sweeps in which the person is told: another choice for each source."""
    if measurer.embedder is None:
        return []
    every = measurer.embed_every
    first = zlib.crc32(source_key.encode()) % min(every, max(len(names), 1))
    return list(names[first::every])


def _text(values: Sequence[str]) -> npt.NDArray[Any]:
    return np.array(values, dtype=object)
