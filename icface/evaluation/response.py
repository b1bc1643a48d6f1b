"""What a model does when one attribute alone is moved: how far it follows, and what else moves with it.

Each source is brought to neutral, then one attribute after another is stepped over the values that occur in training
frames, all others left neutral. There is no real frame to compare with, so only an analyzer can judge the result.

- slope: the measured value's regression on the asked one, 1 where the model does what it is told. Each source's own
  mean is taken away first, so a person's own zero does not count.
- response: Pearson's r of the two, within a source.
- leak: the mean, over the other measured action units, of the absolute slope of that unit on the asked one: how many
  intensities the rest of the face moves for each intensity asked. leak_pose: the same of pitch, yaw and roll, degrees.

Some units move together on real faces and in every analyzer's mapping (AU06 with AU12, AU25 with AU26), so a perfect
model leaks a little.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.animate import generate, to_pictures
from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES, AttributeSchema
from icface.bundle import ICface
from icface.evaluation.pairs import Labels, Pictures
from icface.metrics.attributes import LEAST_DEVIATION, centred, pearson
from icface.spread import evenly

STEPS = 4
"""Values of an attribute that are asked for beside neutral."""
STEPPED = 16
"""Sources that are stepped by default, evenly spread."""

Measure = Callable[[Pictures], Mapping[str, Labels]]
"""(N, S, S, 3) uint8 RGB -> each analyzer's (N, 20) raw attributes, by the analyzer's name."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One attribute stepped on several neutral faces."""

    name: str
    asked: npt.NDArray[np.float32]
    """(S, K) raw, K values for each of S sources; the first is neutral."""
    found: Mapping[str, Labels]
    """analyzer -> (S, K, 20) raw."""


def asked_values(schema: AttributeSchema, asked: Labels) -> dict[str, npt.NDArray[np.float32]]:
    """The `STEPS` raw values that each trained attribute is stepped over.

    Action units go from neutral to the 99th percentile of what was seen in training, pose from the 1st percentile to
    the 99th. Where the model does not say what it has seen, the percentiles are those of `asked` (N, 20). Attributes
    that hardly vary are left out.
    """
    values = {}
    for attribute in schema.attributes:
        if not attribute.trained or attribute.name not in ATTRIBUTE_NAMES:
            continue
        column = asked[:, ATTRIBUTE_NAMES.index(attribute.name)]
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

    def found(name: str | None, value: float) -> Mapping[str, Labels]:
        wanted = schema.neutral()
        if name is not None:
            wanted[schema.index(name)] = value
        encoded = torch.from_numpy(schema.encode(wanted[None])[0]).to(neutral.device).expand(count, -1)
        return measure(to_pictures(generate(model, neutral, encoded)))

    start = found(None, 0.0)
    result = []
    for name, steps in values.items():
        seen = [start, *(found(name, float(value)) for value in steps)]
        first = schema.attributes[schema.index(name)].neutral
        result.append(
            Sweep(
                name=name,
                asked=np.tile(np.concatenate([[np.float32(first)], steps]), (count, 1)),
                found={analyzer: np.stack([labels[analyzer] for labels in seen], axis=1) for analyzer in start},
            )
        )
    return result


def slopes(asked: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n,) regression of `found` (S, K, n) on `asked` (S, K), each source's mean taken away; NaN where not measured.

    >>> asked = np.array([[0.0, 1, 2], [0.0, 1, 2]])
    >>> slopes(asked, np.stack([asked / 2 + [[0], [9]], asked * 0 + 3], axis=-1)).tolist()
    [0.5, 0.0]
    """
    x, y = np.asarray(asked, np.float64)[..., None], np.asarray(found, np.float64)
    measured = np.isfinite(y)
    count = np.maximum(measured.sum(axis=1, keepdims=True), 1)
    x = np.where(measured, x, 0.0)
    y = np.where(measured, y, 0.0)
    x = np.where(measured, x - x.sum(axis=1, keepdims=True) / count, 0.0)
    y = np.where(measured, y - y.sum(axis=1, keepdims=True) / count, 0.0)
    spread = (x * x).sum(axis=(0, 1))
    return np.divide((x * y).sum(axis=(0, 1)), spread, out=np.full_like(spread, np.nan), where=spread > 0)


def leakage(swept: list[Sweep], analyzer: str) -> dict[str, dict[str, float]]:
    """asked attribute -> measured attribute -> slope, raw units over raw units; what was not measured is left out."""
    matrix = {}
    for sweep in swept:
        found = slopes(sweep.asked, sweep.found[analyzer])
        matrix[sweep.name] = {
            name: float(slope) for name, slope in zip(ATTRIBUTE_NAMES, found, strict=True) if np.isfinite(slope)
        }
    return matrix


def response_scores(swept: list[Sweep], analyzer: str) -> dict[str, float | None]:
    """`slope`, `response`, `leak` and `leak_pose` of each attribute, and the latter two's means, see `METRICS`."""
    scores: dict[str, float | None] = {}
    leaks: list[float] = []
    pose_leaks: list[float] = []
    for sweep, row in zip(swept, leakage(swept, analyzer).values(), strict=True):
        if sweep.name not in row:
            continue
        short, index = sweep.name.removeprefix("pose_"), ATTRIBUTE_NAMES.index(sweep.name)
        sources = np.repeat(np.arange(len(sweep.asked)), sweep.asked.shape[1])
        measured = sweep.found[analyzer][..., index].ravel()
        asked = np.where(np.isfinite(measured), sweep.asked.ravel(), np.nan)
        both = centred(np.stack([asked, measured], axis=1), sources)
        scores[f"slope.{short}"] = row[sweep.name]
        scores[f"response.{short}"] = pearson(both[:, 0], both[:, 1])[0]
        if sweep.name in POSE_NAMES:
            continue
        others = [abs(slope) for name, slope in row.items() if name not in POSE_NAMES and name != sweep.name]
        turns = [float(np.degrees(abs(slope))) for name, slope in row.items() if name in POSE_NAMES]
        if others:
            leaks.append(float(np.mean(others)))
            scores[f"leak.{short}"] = leaks[-1]
        if turns:
            pose_leaks.append(float(np.mean(turns)))
            scores[f"leak_pose.{short}"] = pose_leaks[-1]
    if leaks:
        scores["leak"] = float(np.mean(leaks))
    if pose_leaks:
        scores["leak_pose"] = float(np.mean(pose_leaks))
    return scores


class SpreadSources:
    """Keeps at most 2 x `most` of the neutral faces that pass, evenly spread; `chosen` are at most `most` of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._every, self._passed = 1, 0
        self._kept: list[Tensor] = []

    def add(self, neutral: Tensor) -> None:
        """One neutral face (1, 3, H, W)."""
        if self._passed % self._every == 0:
            self._kept.append(neutral)
        self._passed += 1
        if len(self._kept) > 2 * self.most:
            self._kept, self._every = self._kept[::2], self._every * 2

    def chosen(self) -> Tensor:
        """(S, 3, H, W)."""
        return torch.cat(evenly(self._kept, self.most))
