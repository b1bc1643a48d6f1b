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
  whole unit does not. leak_pose: the same of pitch, yaw and roll, degrees.
- step_gain: the slope over all units together, the relative gain: 1 does what is asked, 0 nothing, 2 twice as much.
  step_gain_pose: the same of pitch, yaw and roll.
- step_detected: share of all stepped pictures in which a face is found.
- step_identity: distance of the largest step's picture from the source, as `identity` of pairs.

Some units move together on real faces and in every analyzer's mapping (AU06 with AU12, AU25 with AU26), so a perfect
model leaks a little.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from icface.attributes import ACTION_UNIT_NAMES, LABEL_NAMES, POSE_NAMES, sides_of, unit_of
from icface.evaluation.sweeps import Sweep
from icface.metrics.people import Estimate, joined, mean, ratio, sums

Scores = dict[str, Estimate]


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
    scores: dict[str, Estimate] = {}
    leaks: dict[str, list[Estimate]] = {"leak": [], "leak_pose": []}
    for sweep in swept:
        found = sweep.found[analyzer]
        person, total = _numbered(sweep, people)
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


def step_scores(swept: list[Sweep], analyzer: str, people: Sequence[str] = (), *, copied: bool = False) -> Scores:
    """`step_gain`, `step_gain_pose`, `step_detected` and `step_identity`; `people` as in `response_scores`.

    The gains are the regression of the measured change on the asked change over all units (or axes) together, each
    source's mean taken away. With `copied` they are those of the source's picture, which stays whatever is asked.
    """
    gains: dict[str, list[Estimate]] = {"step_gain": [], "step_gain_pose": []}
    distances: list[Estimate] = []
    faces: list[Estimate] = []
    for sweep in swept:
        person, total = _numbered(sweep, people)
        own = LABEL_NAMES.index(sweep.name)
        if np.isfinite(sweep.found[analyzer][..., own]).any():
            products = source_products(sweep.asked, sweep.found[analyzer][..., own : own + 1])
            change = products["xy"][:, 0] * (not copied)
            gain = Estimate(sums=sums([change, products["xx"][:, 0]], person, total), of=ratio)
            gains["step_gain_pose" if sweep.name in POSE_NAMES else "step_gain"].append(gain)
        everybody = np.repeat(person, sweep.apart.shape[1])
        distances.append(mean(np.where(copied, sweep.apart * 0, sweep.apart).ravel(), everybody, total))
        faces.append(mean(np.isfinite(sweep.found[analyzer]).any(axis=2).ravel(), everybody, total))
    scores = {name: _pooled(each) for name, each in gains.items() if each}
    if faces and not copied:
        scores["step_detected"] = _pooled(faces)
    if any(each.contributing() for each in distances):
        scores["step_identity"] = _pooled(distances)
    return scores


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


def _numbered(sweep: Sweep, people: Sequence[str]) -> tuple[npt.NDArray[np.int64], int]:
    """(S,) the number of each source's person, and how many people there are."""
    if not people:
        return np.arange(len(sweep.asked)), len(sweep.asked)
    numbers = {person: number for number, person in enumerate(people)}
    return np.array([numbers[each] for each in sweep.people], np.int64), len(people)


def _pooled(estimates: Sequence[Estimate]) -> Estimate:
    """The ratio of the sums of all of them."""
    return Estimate(sums=np.sum([each.sums for each in estimates], axis=0), of=ratio)


def _response(total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    xy, xx, yy = np.moveaxis(total, -1, 0)
    return np.where(yy > 0, xy / np.sqrt(xx * yy), np.nan)


def _mean_slope(total: npt.NDArray[np.float64], unit: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(total[..., 0::2] / total[..., 1::2]).mean(axis=-1) * unit)


def _mean(parts: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean(parts, axis=0))
