"""Stepping one attribute after another on neutral faces; `icface.evaluation.response` scores what came out."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.animate import generate, to_pictures
from icface.arrays import Labels, Pictures
from icface.attributes import LABEL_NAMES, POSE_NAMES, AttributeSchema
from icface.bundle import ICface
from icface.evaluation.faces import Faces
from icface.evaluation.pairs import PairSource
from icface.metrics.attributes import LEAST_DEVIATION
from icface.spread import evenly

STEPS = 4
"""Values of an attribute that are asked for beside neutral."""
STEPPED = 16
"""Sources that are stepped by default, evenly spread."""
TOGETHER = 32
"""Pictures made at a time."""

Measure = Callable[[Pictures, Sequence[bool]], Faces]
"""(N, S, S, 3) uint8 RGB, and of which the person is told -> what is found in them (`icface.evaluation.faces`)."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One attribute stepped on several neutral faces."""

    name: str
    asked: npt.NDArray[np.float32]
    """(S, K) raw, K values for each of S sources; the first is neutral."""
    found: Mapping[str, Labels]
    """analyzer -> (S, K, 20) raw, (S, K, 36) with sides."""
    apart: npt.NDArray[np.float64]
    """(S, K) distance of each picture from its source, as face recognition sees it; NaN where it did not look."""
    people: tuple[str, ...] = ()
    """Who each source shows; empty where nobody says."""


def asked_values(schema: AttributeSchema, asked: Labels) -> dict[str, npt.NDArray[np.float32]]:
    """The `STEPS` raw values that each trained attribute is stepped over.

    Action units go from neutral to the 99th percentile of what was seen in training, pose from the 1st percentile to
    the 99th. Where the model does not say what it has seen, the percentiles are those of `asked` (N, 20). Attributes
    that hardly vary are left out.
    """
    values = {}
    for attribute in schema.attributes:
        if not attribute.trained or attribute.name not in LABEL_NAMES[: asked.shape[1]]:
            continue
        column = asked[:, LABEL_NAMES.index(attribute.name)]
        column = column[np.isfinite(column)]
        if attribute.seen is not None:
            low, high = attribute.seen.p01, attribute.seen.p99
        elif len(column):
            low, high = np.percentile(column, [1, 99]).tolist()
        else:
            continue
        pose = attribute.name in POSE_NAMES
        span = np.linspace(low, high, STEPS) if pose else np.linspace(attribute.neutral, high, STEPS + 1)[1:]
        if span[-1] - (low if pose else attribute.neutral) > 2 * LEAST_DEVIATION[attribute.unit]:
            values[attribute.name] = span.astype(np.float32)
    return values


def sweeps(
    model: ICface,
    neutral: Tensor,
    values: Mapping[str, npt.NDArray[np.float32]],
    measure: Measure,
    *,
    embedded: Collection[str] = (),
    sources: npt.NDArray[np.float64] | None = None,
) -> list[Sweep]:
    """Step each attribute of `values` on neutral faces (S, 3, H, W) float in [-1, 1], on the model's device.

    The largest step of the attributes in `embedded` is held against the embeddings of the `sources` (S, 128).
    """
    schema, count = model.schema, len(neutral)
    wanted, told = [schema.neutral()], [False]
    for name, steps in values.items():
        for number, value in enumerate(steps, 1):
            row = schema.neutral()
            row[schema.index(name)] = value
            wanted.append(row)
            told.append(name in embedded and number == len(steps))
    encoded = torch.from_numpy(schema.encode(np.stack(wanted))[0]).to(neutral.device)
    seen: list[Faces] = []
    for face in neutral.split(1):
        parts = [
            measure(to_pictures(generate(model, face.expand(len(codes), -1, -1, -1), codes)), told[first:])
            for first, codes in zip(range(0, len(encoded), TOGETHER), encoded.split(TOGETHER), strict=True)
        ]
        seen.append(Faces.stacked(parts))
    found = {name: np.stack([faces.labels[name] for faces in seen]) for name in seen[0].labels}
    embeddings = np.stack([faces.embeddings for faces in seen])
    own = np.full((count, embeddings.shape[2]), np.nan) if sources is None else sources
    apart = np.linalg.norm(embeddings - own[:, None], axis=2)
    result, place = [], 1
    for name, steps in values.items():
        rows = [0, *range(place, place + len(steps))]
        place += len(steps)
        first = np.float32(schema.attributes[schema.index(name)].neutral)
        result.append(
            Sweep(
                name=name,
                asked=np.tile(np.concatenate([[first], steps]), (count, 1)),
                found={analyzer: labels[:, rows] for analyzer, labels in found.items()},
                apart=apart[:, rows],
            )
        )
    return result


def merged(swept: Iterable[Sweep]) -> list[Sweep]:
    """One sweep an attribute, of all sources, in the order in which the attributes come."""
    attributes: dict[str, list[Sweep]] = {}
    for sweep in swept:
        attributes.setdefault(sweep.name, []).append(sweep)
    return [
        Sweep(
            name=name,
            asked=np.concatenate([sweep.asked for sweep in each]),
            found={who: np.concatenate([sweep.found[who] for sweep in each]) for who in each[0].found},
            apart=np.concatenate([sweep.apart for sweep in each]),
            people=tuple(person for sweep in each for person in sweep.people),
        )
        for name, each in attributes.items()
    ]


def chosen_sources(sources: Sequence[PairSource], most: int) -> set[tuple[str, str]]:
    """(group, key) of the sources that are stepped: at most `most` of each group of kind `self`, evenly spread."""
    groups: dict[str, list[str]] = {}
    for source in sources:
        if source.kind == "self":
            groups.setdefault(source.group, []).append(source.key)
    return {(group, key) for group, keys in groups.items() for key in evenly(keys, most)}
