"""What a model does when one attribute alone is moved: how far it follows, and what else moves with it.

Each source is brought to neutral, then one attribute after another is stepped over the values that occur in training
frames, all others left neutral. There is no real frame to compare with, so only an analyzer can judge the result.

- slope: the measured value's regression on the asked one, 1 where the model does what it is told. Each source's own
  mean is taken away first, so a person's own zero does not count.
- response: Pearson's r of the two, within a source.
- r2: share of the measured variance that a straight line explains, 0..1, the mean over sources: 1 is linear, whatever
  the slope.
- monotonic: Spearman's rank correlation of the two, -1..1, the mean over sources: 1 where more is always more.
- leak: how far the rest of the face moves for each intensity asked. It is the mean, over the other measured action
  units, of the absolute slope of that unit on the asked one. Of one side, the other side counts among them, and the
  whole unit does not.

Some units move together on real faces and in every analyzer's mapping (AU06 with AU12, AU25 with AU26), so a perfect
model leaks a little.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.animate import generate, to_pictures
from icface.arrays import Labels, Pictures
from icface.attributes import ACTION_UNIT_NAMES, LABEL_NAMES, POSE_NAMES, AttributeSchema, sides_of, unit_of
from icface.bundle import ICface
from icface.evaluation.pairs import PairSource
from icface.metrics.attributes import LEAST_DEVIATION
from icface.metrics.people import Estimate, joined, mean, ratio, sums
from icface.spread import evenly

STEPS = 4
"""Values of an attribute that are asked for beside neutral."""
STEPPED = 16
"""Sources that are stepped by default, evenly spread."""
TOGETHER = 32
"""Pictures made at a time."""

Measure = Callable[[Pictures], Mapping[str, Labels]]
"""(N, S, S, 3) uint8 RGB -> each analyzer's (N, 20) raw attributes, (N, 36) with sides, by the analyzer's name."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One attribute stepped on several neutral faces."""

    name: str
    asked: npt.NDArray[np.float32]
    """(S, K) raw, K values for each of S sources; the first is neutral."""
    found: Mapping[str, Labels]
    """analyzer -> (S, K, 20) raw."""
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
    model: ICface, neutral: Tensor, values: Mapping[str, npt.NDArray[np.float32]], measure: Measure
) -> list[Sweep]:
    """Step each attribute of `values` on neutral faces (S, 3, H, W) float in [-1, 1], on the model's device."""
    schema, count = model.schema, len(neutral)
    wanted = [schema.neutral()]
    for name, steps in values.items():
        for value in steps:
            row = schema.neutral()
            row[schema.index(name)] = value
            wanted.append(row)
    encoded = torch.from_numpy(schema.encode(np.stack(wanted))[0]).to(neutral.device)
    seen: list[Mapping[str, Labels]] = []
    for face in neutral.split(1):
        parts = [
            measure(to_pictures(generate(model, face.expand(len(codes), -1, -1, -1), codes)))
            for codes in encoded.split(TOGETHER)
        ]
        seen.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    found = {name: np.stack([labels[name] for labels in seen]) for name in seen[0]}
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
            people=tuple(person for sweep in each for person in sweep.people),
        )
        for name, each in attributes.items()
    ]


def slopes(asked: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n,) regression of `found` (S, K, n) on `asked` (S, K), each source's mean taken away; NaN where not measured.

    >>> asked = np.array([[0.0, 1, 2], [0.0, 1, 2]])
    >>> slopes(asked, np.stack([asked / 2 + [[0], [9]], asked * 0 + 3], axis=-1)).tolist()
    [0.5, 0.0]
    """
    products = source_products(asked, found)
    spread = products["xx"].sum(axis=0)
    together = products["xy"].sum(axis=0)
    return np.divide(together, spread, out=np.full_like(spread, np.nan), where=spread > 0)


def source_products(asked: npt.ArrayLike, found: npt.ArrayLike) -> dict[str, npt.NDArray[np.float64]]:
    """(S, n) sums of products within each source, its means taken away: `xy`, `xx`, `yy`; of what was measured."""
    x, y = np.asarray(asked, np.float64)[..., None], np.asarray(found, np.float64)
    measured = np.isfinite(y)
    count = np.maximum(measured.sum(axis=1, keepdims=True), 1)
    x = np.where(measured, x, 0.0)
    y = np.where(measured, y, 0.0)
    x = np.where(measured, x - x.sum(axis=1, keepdims=True) / count, 0.0)
    y = np.where(measured, y - y.sum(axis=1, keepdims=True) / count, 0.0)
    return {"xy": (x * y).sum(axis=1), "xx": (x * x).sum(axis=1), "yy": (y * y).sum(axis=1)}


def leakage(swept: list[Sweep], analyzer: str) -> dict[str, dict[str, float]]:
    """asked attribute -> measured attribute -> slope, raw units over raw units; what was not measured is left out."""
    matrix = {}
    for sweep in swept:
        found = slopes(sweep.asked, sweep.found[analyzer])
        matrix[sweep.name] = {
            name: float(slope) for name, slope in zip(LABEL_NAMES, found, strict=False) if np.isfinite(slope)
        }
    return matrix


def response_scores(swept: list[Sweep], analyzer: str, people: Sequence[str] = ()) -> dict[str, Estimate]:
    """`slope`, `response`, `r2`, `monotonic`, `leak`, `leak_pose` of each attribute, and the leaks' means.

    `people`: everybody, in order, so that the sums are of the same people as other scores'; without them each source
    is another person.
    """
    numbers = {person: number for number, person in enumerate(people)}
    scores: dict[str, Estimate] = {}
    leaks: dict[str, list[Estimate]] = {"leak": [], "leak_pose": []}
    for sweep in swept:
        found = sweep.found[analyzer]
        person = np.array([numbers[each] for each in sweep.people] if people else range(len(found)), np.int64)
        total = len(people) or len(found)
        products = source_products(sweep.asked, found)
        own = LABEL_NAMES.index(sweep.name)
        if not np.isfinite(found[..., own]).any():
            continue
        short = sweep.name.removeprefix("pose_")
        xy, xx, yy = (products[name][:, own] for name in ("xy", "xx", "yy"))
        scores[f"slope.{short}"] = Estimate(sums=sums([xy, xx], person, total), of=ratio)
        scores[f"response.{short}"] = Estimate(sums=sums([xy, xx, yy], person, total), of=_response)
        with np.errstate(all="ignore"):
            scores[f"r2.{short}"] = mean(np.where(yy > 0, xy**2 / (xx * yy), np.nan), person, total)
        ranks = [monotonicity(a, b) for a, b in zip(sweep.asked, found[..., own], strict=True)]
        scores[f"monotonic.{short}"] = mean(ranks, person, total)
        if sweep.name in POSE_NAMES:
            continue
        measured = np.atleast_1d(np.isfinite(found).any(axis=(0, 1)))
        units = [unit for unit in ACTION_UNIT_NAMES if unit != unit_of(sweep.name)]
        units += [side for side in sides_of(unit_of(sweep.name)) if sweep.name not in (side, unit_of(side))]
        for name, columns in (("leak", units), ("leak_pose", POSE_NAMES)):
            others = [LABEL_NAMES.index(other) for other in columns]
            others = [other for other in others if measured[other]]
            if not others:
                continue
            each = [products[part][:, other] for other in others for part in ("xy", "xx")]
            unit = np.degrees(1.0) if name == "leak_pose" else 1.0
            scores[f"{name}.{short}"] = Estimate(
                sums=sums(each, person, total), of=partial(_mean_slope, unit=float(unit))
            )
            leaks[name].append(scores[f"{name}.{short}"])
    return scores | {name: joined(each, _mean) for name, each in leaks.items() if each}


def monotonicity(asked: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Spearman's rho of one source's curve (K,), SciPy's; 0 where it is flat, NaN where under 3 steps are measured.

    >>> round(monotonicity([0, 1, 2, 3], [0.0, 0.1, 0.9, 1.0]), 6)
    1.0
    """
    from scipy.stats import spearmanr

    x, y = np.asarray(asked, np.float64), np.asarray(found, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3:
        return float("nan")
    return 0.0 if np.ptp(y) == 0 else float(spearmanr(x, y).statistic)


def _response(total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    xy, xx, yy = np.moveaxis(total, -1, 0)
    return np.where(yy > 0, xy / np.sqrt(xx * yy), np.nan)


def _mean_slope(total: npt.NDArray[np.float64], unit: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(total[..., 0::2] / total[..., 1::2]).mean(axis=-1) * unit)


def _mean(parts: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean(parts, axis=0))


def chosen_sources(sources: Sequence[PairSource], most: int) -> set[tuple[str, str]]:
    """(group, key) of the sources that are stepped: at most `most` of each group of kind `self`, evenly spread."""
    groups: dict[str, list[str]] = {}
    for source in sources:
        if source.kind == "self":
            groups.setdefault(source.group, []).append(source.key)
    return {(group, key) for group, keys in groups.items() for key in evenly(keys, most)}
