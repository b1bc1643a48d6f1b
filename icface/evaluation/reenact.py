"""Evaluating a model: reenact pairs, look at the pixels, and measure the attributes of what came out again."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.analyzers.face import Analyzer, Face
from icface.animate import to_pictures
from icface.attributes import ATTRIBUTE_NAMES
from icface.bundle import ICface
from icface.errors import IcfaceError
from icface.evaluation.pairs import Labels, PairList, Pictures
from icface.evaluation.rendering import drive_pairs, neutral_faces, sized
from icface.evaluation.report import PROTOCOL, GroupReport, Report
from icface.evaluation.response import SpreadSources, Sweep, asked_values, leakage, response_scores, sweeps
from icface.evaluation.scores import Faces, GroupScores, named

BATCH = 16
"""Pairs reenacted at a time."""

Embedder = Callable[[Pictures, npt.NDArray[np.float32]], npt.NDArray[np.float64]]
"""A picture (S, S, 3) uint8 RGB and its landmarks (68, 2), fractions of it -> what tells people apart (D,)."""


def evaluate(
    model: ICface,
    pairs: PairList,
    analyzer: Analyzer,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    embedder: Embedder | None = None,
    second: Analyzer | None = None,
    stepped: int = 0,
) -> Report:
    """Score `model` on `pairs`; `analyzer` measures the pictures again, and so does `second`, where there is one.

    Everything is compared at the model's size. `progress` is told the pairs done and their number. With an `embedder`
    (`icface.identity.FaceEmbedder`) there is the metric `identity` too, at three embeddings a pair. `stepped`: single
    attributes are stepped on so many neutral faces of each group of kind `self` (`icface.evaluation.response`).
    Raises IcfaceError when there are no pairs, or the model has an attribute that is none of `ATTRIBUTE_NAMES`.
    """
    if len(pairs) == 0:
        raise IcfaceError("there is nothing to evaluate: the data set has no pairs of the kind asked for")
    device = torch.device(device)
    model = model.to(device).eval()
    groups: defaultdict[str, GroupScores] = defaultdict(GroupScores)
    clamped = np.zeros(len(model.schema), np.int64)
    neutral: dict[tuple[str, str], Tensor] = {}
    stepping: defaultdict[str, SpreadSources] = defaultdict(lambda: SpreadSources(stepped))
    everything: list[Labels] = []
    others = [second] if second is not None else []
    done = 0
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        keys = [(pair.group, pair.source_key) for pair in batch]
        fresh = {key: pair for key, pair in zip(keys, batch, strict=True) if key not in neutral}
        # Pairs of one source come one after another, so only the sources of this batch are worth keeping.
        neutral = {key: neutral[key] for key in keys if key in neutral}
        if fresh:
            crops = sized([pair.source for pair in fresh.values()], model.size)
            relaxed = neutral_faces(model, list(fresh.values()), device)
            neutral |= dict(zip(fresh, relaxed.split(1), strict=True))
            sources = _analysed(analyzer, crops, embedder, others)
            neutrals = _analysed(analyzer, to_pictures(relaxed), None, others)
            for index, ((group, source_key), pair) in enumerate(fresh.items()):
                groups[group].add_source(source_key, sources.one(index), neutrals.one(index))
                if stepped and pair.kind == "self":
                    stepping[group].add(relaxed[index : index + 1])
        made, beyond = drive_pairs(model, torch.cat([neutral[key] for key in keys]), batch)
        clamped += beyond
        outputs = _analysed(analyzer, made, embedder, others)
        driving = _analysed(analyzer, sized([pair.driving for pair in batch], model.size), embedder, others)
        everything += [pair.asked(model.config.baselines) for pair in batch]
        for index, pair in enumerate(batch):
            groups[pair.group].add_pair(pair, outputs.one(index), driving.one(index), model.config.baselines)
        done += len(batch)
        if progress is not None:
            progress(done, len(pairs))
    reports = {name: scores.report(model.schema) for name, scores in groups.items()}
    values = asked_values(model.schema, np.stack(everything))
    for name, sources_of in stepping.items():
        swept = sweeps(
            model, sources_of.chosen(), values, lambda pictures: _analysed(analyzer, pictures, None, others).opinions
        )
        reports[name] = _with_response(reports[name], swept)
    return Report(
        protocol=PROTOCOL,
        pairs_hash=pairs.hash,
        analyzer=f"{analyzer.name} {analyzer.fingerprint}",
        size=model.size,
        groups=reports,
        clamped={name: int(n) for name, n in zip(model.schema.names, clamped, strict=True) if n},
        second=None if second is None else f"{second.name} {second.fingerprint}",
    )


def _with_response(report: GroupReport, swept: list[Sweep]) -> GroupReport:
    """The report with what the sweeps say, by each analyzer."""
    opinions = list(swept[0].found) if swept else []
    model = dict(report.scores["model"])
    for opinion in opinions:
        model |= named(response_scores(swept, opinion), opinion)
    return replace(
        report,
        scores={**report.scores, "model": model},
        leakage={opinion: leakage(swept, opinion) for opinion in opinions},
    )


def analyse(analyzer: Analyzer, pictures: Pictures) -> Labels:
    """(N, 20) float32 attributes of the largest face in each of (N, S, S, 3) uint8 RGB; all NaN where there is none."""
    return _labels(_largest(analyzer, pictures))


def _largest(analyzer: Analyzer, pictures: Pictures) -> list[Face | None]:
    """The largest face in each picture."""
    largest: list[Face | None] = []
    for start in range(0, len(pictures), analyzer.batch_size):
        batch = pictures[start : start + analyzer.batch_size]
        found = analyzer.analyze(batch, range(start, start + len(batch)), "evaluation")
        largest += [faces[0] if faces else None for faces in found]
    return largest


def _labels(faces: list[Face | None]) -> Labels:
    unknown = np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32)
    return np.stack([unknown if face is None else face.attributes for face in faces])


def _analysed(
    analyzer: Analyzer, pictures: Pictures, embedder: Embedder | None = None, others: Sequence[Analyzer] = ()
) -> Faces:
    faces = _largest(analyzer, pictures)
    embeddings: list[npt.NDArray[np.float64] | None] = [None] * len(faces)
    if embedder is not None:
        embeddings = [
            None if face is None else embedder(picture, (face.landmarks / len(picture)).astype(np.float32))
            for picture, face in zip(pictures, faces, strict=True)
        ]
    second = {other.name: analyse(other, pictures) for other in others}
    return Faces(pictures=pictures, labels=_labels(faces), embeddings=embeddings, second=second)
