"""Scores of attributes: what was asked for against what is found in the pictures again."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icface.arrays import Doubles, Labels
from icface.attributes import (
    ACTION_UNIT_NAMES,
    ATTRIBUTE_NAMES,
    LABEL_NAMES,
    POSE_NAMES,
    SIDED_UNITS,
    AttributeSchema,
    sides_of,
)
from icface.metrics.attributes import LEAST_DEVIATION, LEAST_PAIRS, centred, geodesic_degrees
from icface.metrics.correlation import correlation, icc, person_correlation
from icface.metrics.people import Estimate, joined, mean, sums

REAL_DEVIATION = 0.3
"""Standard deviation within a track, 0..5, that a person's unit must have to count in `unit_r`."""
People = npt.NDArray[np.int64]


def attribute_scores(
    asked: Labels,
    found: Labels,
    tracks: npt.ArrayLike,
    people: People,
    count: int,
    schema: AttributeSchema | None,
) -> dict[str, Estimate]:
    """Scores of the attributes `found` (N, 20) where `asked` (N, 20) was wanted, raw; NaN is not measured.

    `tracks` (N,) name the pairs' tracks, `people` (N,) number their people, 0..`count` - 1. Without a `schema` there
    are only the errors of the pose. An action unit with sides is scored as a whole too; means over action units are of
    the whole ones, so that models of both kinds compare. Metrics: see `icface.evaluation.report.METRICS`.
    """
    turned = (np.asarray(asked, np.float64) - found + np.pi)[:, : len(POSE_NAMES)] % (2 * np.pi) - np.pi
    axes = {
        f"pose_error.{name.removeprefix('pose_')}": mean(np.degrees(np.abs(turned[:, index])), people, count)
        for index, name in enumerate(POSE_NAMES)
    }
    scores = {
        "detected": mean(np.isfinite(found).any(axis=1).astype(np.float64), people, count),
        "pose_error": joined(list(axes.values()), _mean_of_known),
        **axes,
        "geodesic": mean(geodesic_degrees(asked[:, :3], found[:, :3]), people, count),
    }
    if schema is None:
        return scores
    both = np.isfinite(asked) & np.isfinite(found)
    asked_within = centred(np.where(both, asked, np.nan), tracks)
    found_within = centred(np.where(both, found, np.nan), tracks)
    units = []
    names = [*schema.names, *(unit for unit in SIDED_UNITS if sides_of(unit)[0] in schema.names)]
    for whole in names:
        index, least = LABEL_NAMES.index(whole), LEAST_DEVIATION["rad" if whole in POSE_NAMES else "intensity"]
        name = whole.removeprefix("pose_")
        a, b = asked[:, index], found[:, index]
        scores[f"r.{name}"] = correlation(a, b, people, count, least)
        scores[f"within.{name}"] = correlation(asked_within[:, index], found_within[:, index], people, count, least)
        scores[f"icc.{name}"] = icc(a, b, people, count)
        if whole in POSE_NAMES:
            continue
        scores[f"error.{name}"] = mean(np.abs(np.asarray(a, np.float64) - b), people, count)
        unit = person_correlation(a, b, tracks, people, count, REAL_DEVIATION)
        scores[f"unit_r.{name}"] = unit
        if unit.contributing() and whole in ACTION_UNIT_NAMES:
            units.append(unit)
    if units:
        scores["unit_r"] = joined(units, _mean_of_known)
        scores["error"] = joined([scores[f"error.{name}"] for name in _measured(scores)], _mean_of_known)
        scores["icc"] = joined([scores[f"icc.{name}"] for name in _measured(scores)], _mean_of_known)
    return scores


def gains(asked: Labels, found: Labels, people: People, count: int) -> dict[str, Estimate]:
    """`gain` and `gain_pose`: the measured change (N, 20) over the asked one, a regression through the origin.

    All units, or all axes, are one regression: sum of asked times measured over sum of asked squared. 1 does what is
    asked, 0 nothing, 2 twice as much; any number is possible. NaN where nothing is asked. The definition is ours.
    """

    def gain(columns: slice) -> Estimate:
        x, y = np.asarray(asked[:, columns], np.float64), np.asarray(found[:, columns], np.float64)
        both = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(both, x, 0.0), np.where(both, y, 0.0)
        products = [(x * y).sum(axis=1), (x * x).sum(axis=1)]
        return Estimate(sums=sums(products, people, count), of=_gain)

    return {"gain": gain(slice(len(POSE_NAMES), len(ATTRIBUTE_NAMES))), "gain_pose": gain(slice(0, len(POSE_NAMES)))}


def left_out(asked: Labels, tracks: npt.ArrayLike, people: People, count: int) -> dict[str, str]:
    """action unit -> why no person counts in its `unit_r`."""
    within = centred(np.asarray(asked, np.float64), tracks)
    reasons = {}
    for name in ACTION_UNIT_NAMES:
        column = within[:, ATTRIBUTE_NAMES.index(name)]
        known = np.isfinite(column)
        filled = np.where(known, column, 0.0)
        n, x, xx = sums([known, filled, filled**2], people, count).T
        says = n >= LEAST_PAIRS
        if not known.any():
            reasons[name] = "not measured"
        elif not says.any():
            reasons[name] = f"fewer than {LEAST_PAIRS} pairs of each person"
        else:
            most = np.sqrt(np.maximum(xx[says] / n[says] - (x[says] / n[says]) ** 2, 0)).max()
            if most < REAL_DEVIATION:
                reasons[name] = f"deviates by {most:.2f} at most, {REAL_DEVIATION} are needed"
    return reasons


def _measured(scores: dict[str, Estimate]) -> list[str]:
    return [name for name in ACTION_UNIT_NAMES if f"error.{name}" in scores and scores[f"error.{name}"].contributing()]


def _gain(total: Doubles) -> Doubles:
    return np.where(total[..., 1] > 0, total[..., 0] / total[..., 1], np.nan)


def _mean_of_known(parts: Sequence[Doubles]) -> Doubles:
    values = np.stack(parts)
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.where(known, values, 0).sum(axis=0) / known.sum(axis=0), np.nan)
