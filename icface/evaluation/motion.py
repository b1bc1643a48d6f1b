"""How steady a film is: second differences over consecutive frames, beside those of the real clip.

A second difference, f(t+1) - 2 f(t) + f(t-1), is 0 for steady motion, so it measures trembling. Real clips tremble
too, by noise and by real acceleration: a score is the model's mean absolute second difference over the real clip's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.arrays import Doubles, Labels, Pictures
from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.evaluation.faces import Measurer
from icface.evaluation.measuring import BATCH
from icface.evaluation.pairs import EvaluationPair, FrameSequence
from icface.evaluation.rendering import Renderer, sized
from icface.evaluation.report import HEADLINE_UNITS
from icface.metrics.people import Estimate, sums

CURVES = ("pose_yaw", *HEADLINE_UNITS)
"""Attributes of which the curves over a clip are kept."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One run of consecutive frames."""

    group: str
    person: str
    trembling: Mapping[str, tuple[float, float]]
    """score -> mean absolute second difference of the model and of the real clip, NaN where not measured."""
    curves: Mapping[str, Any]
    """`name`, and attribute -> `asked`, `real`, `measured`: a number or None a frame."""


def measure_motion(renderer: Renderer, sequences: Iterable[FrameSequence], measurer: Measurer) -> list[Motion]:
    """Render runs of consecutive frames as labelled and with smoothed labels, and measure them."""
    motions = []
    for sequence in sequences:
        real = sized([pair.driving for pair in sequence.pairs], renderer.size)
        made, smoothed = _rendered(renderer, sequence.pairs), _rendered(renderer, sequence.smoothed)
        found = {name: measurer(pictures).labels for name, pictures in (("", made), ("_smoothed", smoothed))}
        truth = measurer(real).labels
        trembling = {}
        for ending, pictures in (("", made), ("_smoothed", smoothed)):
            trembling[f"jitter.pixels{ending}"] = (second_difference(pictures / 255), second_difference(real / 255))
            for opinion, labels in found[ending].items():
                prefix = f"{opinion}/" if opinion else ""
                for name, columns in (("units", slice(3, len(ATTRIBUTE_NAMES))), ("pose", slice(0, 3))):
                    both = (second_difference(labels[:, columns]), second_difference(truth[opinion][:, columns]))
                    trembling[f"{prefix}jitter.{name}{ending}"] = both
        first = sequence.pairs[0]
        asked = np.stack([pair.expected(renderer.baselines) for pair in sequence.pairs])
        curves: dict[str, Any] = {
            name: {
                "asked": _series(asked, name),
                "real": _series(truth[""], name),
                "measured": _series(found[""][""], name),
            }
            for name in CURVES
        }
        named = {"name": f"{first.source_key} > {first.track}", **curves}
        motions.append(Motion(group=first.group, person=first.person, trembling=trembling, curves=named))
    return motions


def motion_scores(motions: Sequence[Motion], people: npt.NDArray[np.int64], count: int) -> dict[str, Estimate]:
    """`jitter` by what trembles; `people` (M,) number the motions' people, 0..`count` - 1."""
    scores = {}
    for name in motions[0].trembling if motions else ():
        both = np.array([motion.trembling[name] for motion in motions])
        both = np.where(np.isfinite(both).all(axis=1, keepdims=True), both, 0.0)
        scores[name] = Estimate(sums=sums([both[:, 0], both[:, 1]], people, count), of=_over)
    return scores


def second_difference(values: npt.ArrayLike) -> float:
    """Mean |f(t+1) - 2 f(t) + f(t-1)| of a series (T, ...), what is NaN left out; NaN where nothing is left.

    0 or more, in the series' unit: the central difference for a second derivative, the definition as a score is ours.

    >>> second_difference([0.0, 1.0, 2.0, 3.0]), second_difference([0.0, 1.0, 0.0, 1.0])
    (0.0, 2.0)
    """
    series = np.asarray(values, np.float64)
    if len(series) < 3:
        return float("nan")
    differences = np.abs(series[2:] - 2 * series[1:-1] + series[:-2])
    known = np.isfinite(differences)
    return float(differences[known].mean()) if known.any() else float("nan")


def _rendered(renderer: Renderer, pairs: Sequence[EvaluationPair]) -> Pictures:
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    return np.concatenate([renderer.render(batch).pictures for batch in batches])


def _series(labels: Labels, name: str) -> list[float | None]:
    column = labels[:, ATTRIBUTE_NAMES.index(name)]
    column = np.degrees(column) if name in POSE_NAMES else column
    return [round(float(value), 4) if np.isfinite(value) else None for value in column]


def _over(total: Doubles) -> Doubles:
    return np.where(total[..., 1] > 0, total[..., 0] / total[..., 1], np.nan)
