"""Control by action units against exact truth: what a method shows of single units and turns, beside the true picture.

The pairs are of synthetic people who move one thing at a time (`icface.synthetic.motion.single_moves`). The true
picture of each move exists, and the same analyzer reads both. So what the analyzer gets wrong on these faces is wrong
on both sides, and a perfect method scores 1 and 0.

- response: regression of what is read off the outputs on what is read off the true pictures, each person's neutral
  pair taken away. 1 where a unit is shown as strongly as in truth, 0 where it is not shown.
- leak: the mean over all other units of the absolute difference to the true picture's reading, per intensity asked.
- pose: mean absolute difference to the true picture's reading, degrees, of the pairs that turn that way.
- identity: embedding distance of output and source, less the true picture's.
- face_l1: L1 within the face box to the true picture, over that of copying the source.

Units that the analyzer hardly reads off the true pictures (`LEAST_READ`) have no response.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, POSE_NAMES
from icface.evaluation.measuring import Columns

LEAST_READ = 0.25
"""Intensities that a true picture must be read at, on average over people, for its unit to be scored."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkScores:
    """What a method reaches."""

    response: Mapping[str, float]
    """Action unit -> response."""
    leak: Mapping[str, float]
    """Action unit asked for -> leak, intensities for each intensity."""
    pose: Mapping[str, float]
    """pitch, yaw, roll -> degrees."""
    identity: float | None
    """None where nobody is told apart."""
    face_l1: float
    """Over copy-source's."""
    found: float
    """Share of the outputs in which a face is found."""
    people: int

    def headline(self) -> dict[str, float | None]:
        """One number for each: means over units and over the three angles."""
        return {
            "response": _mean(self.response),
            "leak": _mean(self.leak),
            "pose": _mean(self.pose),
            "identity": self.identity,
            "face_l1": self.face_l1,
            "found": self.found,
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: each unit's response and leak, each angle's error, and the means."""
        rows: list[tuple[str, ...]] = [("of exact truth", "response (1)", "leak (0)", "error, degrees (0)")]
        rows += [
            (name, _shown(self.response.get(name)), _shown(self.leak.get(name)), "–")
            for name in ACTION_UNIT_NAMES
            if name in self.response or name in self.leak
        ]
        rows += [(name, "–", "–", _shown(error)) for name, error in self.pose.items()]
        mean = self.headline()
        return [*rows, ("mean", _shown(mean["response"]), _shown(mean["leak"]), _shown(mean["pose"]))]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "people": self.people,
            "headline": self.headline(),
            "response": dict(self.response),
            "leak": dict(self.leak),
            "pose": dict(self.pose),
        }


def benchmark_scores(pairs: Columns, moves: npt.NDArray[np.str_]) -> BenchmarkScores:
    """The scores of measured pairs (`Measurements.pairs`, N rows of kind `self`).

    `moves` (N,): the attribute that each pair moves; empty where it moves none.
    """
    true, output = (pairs[f"{who}::found"].astype(np.float64) for who in ("noise_floor", "model"))
    asked = pairs["asked"].astype(np.float64)
    people = pairs["person"]
    still = {
        person: (_known_mean(true[rows]), _known_mean(output[rows]))
        for person in np.unique(people)
        if (rows := (people == person) & (moves == "")).any()
    }
    known = np.array([person in still for person in people])
    shift = np.stack([np.stack(still.get(person, (np.zeros(len(ATTRIBUTE_NAMES)),) * 2)) for person in people])
    true_change, output_change = true - shift[:, 0], output - shift[:, 1]
    units = [ATTRIBUTE_NAMES.index(name) for name in ACTION_UNIT_NAMES]
    response, leak, pose = {}, {}, {}
    for name in ACTION_UNIT_NAMES:
        column = ATTRIBUTE_NAMES.index(name)
        rows = known & (moves == name) & np.isfinite(true_change[:, column]) & np.isfinite(output_change[:, column])
        if not rows.any():
            continue
        read, shown = true_change[rows, column], output_change[rows, column]
        if read.mean() >= LEAST_READ:
            response[name] = float((read * shown).sum() / (read * read).sum())
        others = [other for other in units if other != column]
        apart = np.abs(output_change[rows] - true_change[rows])[:, others] / asked[rows, column, None]
        leak[name] = float(np.nanmean(apart))
    for name in POSE_NAMES:
        column = ATTRIBUTE_NAMES.index(name)
        rows = (moves == name) & np.isfinite(true[:, column]) & np.isfinite(output[:, column])
        if rows.any():
            error = np.abs(output[rows, column] - true[rows, column])
            pose[name.removeprefix("pose_")] = float(np.degrees(error.mean()))
    apart = pairs["model:identity"] - pairs["noise_floor:identity"]
    copied = pairs["copy_source:face_l1"]
    return BenchmarkScores(
        response=response,
        leak=leak,
        pose=pose,
        identity=float(np.nanmean(apart)) if np.isfinite(apart).any() else None,
        face_l1=float(np.nanmean(pairs["model:face_l1"]) / np.nanmean(copied)),
        found=float(np.isfinite(output[:, 0]).mean()),
        people=len(still),
    )


def _known_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) mean of (N, n) over what is measured; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _mean(values: Mapping[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
