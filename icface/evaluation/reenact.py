"""Evaluating a model: reenact pairs, look at the pixels, and measure the attributes of what came out again."""

from collections import defaultdict
from collections.abc import Callable
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.analyzers.face import Analyzer
from icface.animate import generate, neutralise, to_pictures
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import ICface
from icface.errors import IcfaceError
from icface.evaluation.pairs import Labels, PairList, Pictures
from icface.evaluation.report import PROTOCOL, Report
from icface.evaluation.scores import Faces, GroupScores
from icface.images import resize

BATCH = 16
"""Pairs reenacted at a time."""


def evaluate(
    model: ICface,
    pairs: PairList,
    analyzer: Analyzer,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score `model` on `pairs`; `analyzer` measures the pictures again.

    Everything is compared at the model's size. `progress` is told the pairs done and their number.
    Raises IcfaceError when there are no pairs, or the model has an attribute that is none of `ATTRIBUTE_NAMES`.
    """
    if len(pairs) == 0:
        raise IcfaceError("there is nothing to evaluate: the data set has no pairs of the kind asked for")
    device = torch.device(device)
    model = model.to(device).eval()
    groups: defaultdict[str, GroupScores] = defaultdict(GroupScores)
    clamped = np.zeros(len(model.schema), np.int64)
    neutral: dict[tuple[str, str], Tensor] = {}
    done = 0
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        keys = [(pair.group, pair.source_key) for pair in batch]
        fresh = {key: pair for key, pair in zip(keys, batch, strict=True) if key not in neutral}
        # Pairs of one source come one after another, so only the sources of this batch are worth keeping.
        neutral = {key: neutral[key] for key in keys if key in neutral}
        if fresh:
            crops = _sized([pair.source for pair in fresh.values()], model.size)
            made = neutralise(model, crops, device)
            neutral |= dict(zip(fresh, made.split(1), strict=True))
            sources, neutrals = _analysed(analyzer, crops), _analysed(analyzer, to_pictures(made))
            for index, (group, source_key) in enumerate(fresh):
                groups[group].add_source(source_key, sources.one(index), neutrals.one(index))
        codes, beyond = model.schema.code(_ordered(np.stack([pair.attributes for pair in batch]), model.schema))
        clamped += beyond
        faces = torch.cat([neutral[key] for key in keys])
        outputs = _analysed(analyzer, to_pictures(generate(model, faces, torch.from_numpy(codes).to(device))))
        driving = _analysed(analyzer, _sized([pair.driving for pair in batch], model.size))
        for index, pair in enumerate(batch):
            groups[pair.group].add_pair(pair, outputs.one(index), driving.one(index))
        done += len(batch)
        if progress is not None:
            progress(done, len(pairs))
    return Report(
        protocol=PROTOCOL,
        pairs_hash=pairs.hash,
        analyzer=f"{analyzer.name} {analyzer.fingerprint}",
        size=model.size,
        groups={name: scores.report(model.schema) for name, scores in groups.items()},
        clamped={name: int(n) for name, n in zip(model.schema.names, clamped, strict=True) if n},
    )


def analyse(analyzer: Analyzer, pictures: Pictures) -> Labels:
    """(N, 20) float32 attributes of the largest face in each of (N, S, S, 3) uint8 RGB; all NaN where there is none."""
    labels = np.full((len(pictures), len(ATTRIBUTE_NAMES)), np.nan, np.float32)
    for start in range(0, len(pictures), analyzer.batch_size):
        batch = pictures[start : start + analyzer.batch_size]
        for offset, faces in enumerate(analyzer.analyze(batch, range(start, start + len(batch)), "evaluation")):
            if faces:
                labels[start + offset] = faces[0].attributes
    return labels


def _analysed(analyzer: Analyzer, pictures: Pictures) -> Faces:
    return Faces(pictures=pictures, labels=analyse(analyzer, pictures))


def _ordered(attributes: Labels, schema: AttributeSchema) -> Labels:
    """(N, n): the columns of (N, 20) in the schema's order."""
    unknown = [name for name in schema.names if name not in ATTRIBUTE_NAMES]
    if unknown:
        raise IcfaceError(f"this model is steered by {unknown[0]}, which nothing here measures; it cannot be evaluated")
    return attributes[:, [ATTRIBUTE_NAMES.index(name) for name in schema.names]]


def _sized(pictures: list[Pictures], size: int) -> npt.NDArray[np.uint8]:
    return np.stack([resize(picture, size) for picture in pictures])
