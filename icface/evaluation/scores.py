"""From what was measured of the pairs of one group to scores, each with sums over people for its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icface.arrays import Doubles, Labels
from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES, AttributeSchema
from icface.evaluation.attribute_scores import attribute_scores, gains, left_out
from icface.evaluation.measurements import Columns, Measurements, Moments
from icface.evaluation.pixel_scores import PIXELS
from icface.evaluation.report import HEADLINE_UNITS, REFERENCES, Reference
from icface.evaluation.response import leakage, response_scores, step_scores
from icface.evaluation.sweeps import Sweep, merged
from icface.identity import SAME_PERSON, distances
from icface.metrics.people import Estimate, joined, mean, ratio, sums
from icface.metrics.realism import fid, kid

TURNS = {"turn_0_10": (0.0, 10.0), "turn_10_20": (10.0, 20.0), "turn_over_20": (20.0, np.inf)}
"""Bins of the yaw between source and target, degrees."""

STEPPED_REFERENCES: tuple[Reference, ...] = ("model", "copy_source")
"""What single steps are scored of; nothing real shows them."""

Values = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class IdentityScale:
    """What distances mean on this data: the medians of different people and of one person."""

    impostor: float
    genuine: float

    @classmethod
    def of(cls, measured: Measurements) -> "IdentityScale | None":
        """Impostors are the sources of different people; genuine are real frames and sources of one person.

        None where either is missing, or they cannot be told apart.
        """
        own = measured.pairs["noise_floor:identity"][measured.pairs["kind"] == "self"]
        own = own[np.isfinite(own)]
        known = np.isfinite(measured.sources["source:embedding"][:, 0])
        embeddings, people = measured.sources["source:embedding"][known], measured.sources["person"][known]
        others = distances(embeddings)[people[:, None] != people[None]]
        if not len(own) or not len(others):
            return None
        scale = cls(impostor=float(np.median(others)), genuine=float(np.median(own)))
        return scale if scale.genuine < scale.impostor else None

    def score(self, distance: Estimate) -> Estimate:
        """A mean distance as a score: 0 is the impostors' median, 1 that of one person."""
        between = self.impostor - self.genuine
        return joined([distance], lambda parts: (self.impostor - parts[0]) / between)


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """The scores of one group of pairs."""

    people: tuple[str, ...]
    """In the order of the estimates' sums."""
    estimates: dict[Reference, dict[str, Estimate]]
    values: dict[Reference, Values] = field(default_factory=dict)
    """Scores that are not sums over people."""
    left_out: dict[str, str] = field(default_factory=dict)
    """action unit -> why it has no part in `unit_r`."""
    leakage: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def score(measured: Measurements, schema: AttributeSchema, scale: IdentityScale | None = None) -> GroupScores:
    """The scores of one group (`Measurements.group`); those of a second opinion are called `NAME/metric`."""
    pairs, sources = measured.pairs, measured.sources
    names, people = np.unique(pairs["person"].astype(str), return_inverse=True)
    count = len(names)
    compared = bool((pairs["kind"] == "self").all())
    opinions = [name.split(":")[1] for name in pairs if name.startswith("model:") and name.endswith(":found")]
    estimates: dict[Reference, dict[str, Estimate]] = {reference: {} for reference in REFERENCES}
    for reference in REFERENCES:
        scores = estimates[reference]
        if compared and reference != "mean_attributes":
            scores |= _pixels(pairs, reference, people, count)
        for opinion in opinions:
            found = _found(pairs, reference, opinion)
            if found is None:
                continue
            own = pairs[f"copy_source:{opinion}:found"]
            labels = attribute_scores(pairs["asked"], found, pairs["track"], people, count, schema)
            labels |= gains(pairs["asked"] - pairs["own"], found - own, people, count)
            labels |= _turned(labels, pairs, found, people, count)
            scores |= _named(labels, opinion)
        if reference in ("model", "copy_source") or (reference == "noise_floor" and compared):
            scores |= _identity(pairs, reference, people, count, scale)
        for opinion in opinions:
            scores |= _named(_edit(scores, opinion), opinion)
    source_people = np.searchsorted(names, sources["person"].astype(str))
    for opinion in opinions:
        _source_scores(estimates, sources, opinion, source_people, count)
        estimates["model"] |= _named(_shares(estimates, opinion), opinion)
    swept = merged(sweep for one in measured.swept for sweep in one.swept)
    for opinion in opinions if swept else ():
        estimates["model"] |= _named(response_scores(swept, opinion, names.tolist()), opinion)
        for reference in STEPPED_REFERENCES:
            _add_steps(estimates[reference], swept, opinion, names.tolist(), scale, copied=reference == "copy_source")
    return GroupScores(
        people=tuple(names.tolist()),
        estimates=estimates,
        values=_values(pairs, sources, measured.moments),
        left_out=left_out(pairs["asked"], pairs["track"], people, count),
        leakage={opinion: leakage(swept, opinion) for opinion in opinions} if swept else {},
    )


def _found(pairs: Columns, reference: Reference, opinion: str) -> Labels | None:
    """(N, 20) what an analyzer found in a reference's pictures; None where it did not look."""
    if reference != "mean_attributes":
        return pairs.get(f"{reference}:{opinion}:found")
    if opinion:
        return None
    asked = pairs["asked"]
    known = np.isfinite(asked)
    means = np.where(known, asked, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, means.astype(np.float32), np.nan)


def _pixels(pairs: Columns, reference: Reference, people: npt.NDArray[np.int64], count: int) -> dict[str, Estimate]:
    """Means over the pairs; `sharpness` is a ratio of means."""
    scores = {}
    for name in (*PIXELS, "landmark_distance"):
        column = pairs.get(f"{reference}:{name}")
        if column is None:
            continue
        if name == "laplacian":
            real = pairs["noise_floor:laplacian"]
            known = np.isfinite(column)
            both = [np.where(known, column, 0), np.where(known, real, 0)]
            scores["sharpness"] = Estimate(sums=sums(both, people, count), of=_quotient)
        else:
            scores[name] = mean(column, people, count)
    for place, (low, high) in TURNS.items():
        rows = (pairs["turn"] >= low) & (pairs["turn"] < high)
        column = pairs[f"{reference}:face_l1"]
        scores[f"face_l1.{place}"] = mean(np.where(rows, column, np.nan), people, count)
    return scores


def _turned(
    scores: Mapping[str, Estimate], pairs: Columns, found: Labels, people: npt.NDArray[np.int64], count: int
) -> dict[str, Estimate]:
    """`pose_error` and `geodesic` by the yaw between source and target."""
    result: dict[str, Estimate] = {}
    for place, (low, high) in TURNS.items():
        rows = (pairs["turn"] >= low) & (pairs["turn"] < high)
        there = attribute_scores(
            np.where(rows[:, None], pairs["asked"], np.nan), found, pairs["track"], people, count, None
        )
        result |= {f"{name}.{place}": there[name] for name in ("pose_error", "geodesic")}
    return result


def _identity(
    pairs: Columns, reference: Reference, people: npt.NDArray[np.int64], count: int, scale: IdentityScale | None
) -> dict[str, Estimate]:
    apart = pairs[f"{reference}:identity"]
    if not np.isfinite(apart).any():
        return {}
    same = np.where(np.isfinite(apart), apart < SAME_PERSON, np.nan)
    scores = {"identity": mean(apart, people, count), "identity_share": mean(same, people, count)}
    if scale is not None:
        scores["identity_score"] = scale.score(scores["identity"])
    return scores


def _edit(scores: Mapping[str, Estimate], opinion: str, steps: str = "") -> dict[str, Estimate]:
    """`edit_score`: the harmonic mean of doing what is asked and keeping the person, each 0..1; itself 0..1.

    Doing is 1 - |1 - gain|, keeping is `identity_score`, both cut to 0..1. As in an F score one cannot pay for the
    other; the definition is ours.

    `steps`: the prefix of the scores of single steps, for `step_edit_score`.
    """
    gain = scores.get(f"{opinion}/{steps}gain" if opinion else f"{steps}gain")
    person = scores.get(f"{steps}identity_score")
    if gain is None or person is None:
        return {}

    def harmonic(parts: list[Doubles]) -> Doubles:
        done, kept = np.clip(1 - np.abs(1 - parts[0]), 0, 1), np.clip(parts[1], 0, 1)
        both = done + kept
        return np.where(np.isnan(both), np.nan, np.where(both > 0, 2 * done * kept / both, 0.0))

    return {f"{steps}edit_score": joined([gain, person], harmonic)}


def _source_scores(
    estimates: dict[Reference, dict[str, Estimate]],
    sources: Columns,
    opinion: str,
    people: npt.NDArray[np.int64],
    count: int,
) -> None:
    """`neutral_leak`, and what changes where the source's own attributes are asked for."""
    units = slice(len(POSE_NAMES), len(ATTRIBUTE_NAMES))
    if f"neutral:{opinion}:found" not in sources:
        return
    for reference, place in (("model", "neutral"), ("copy_source", "source")):
        leak = _leak(sources[f"{place}:{opinion}:found"])
        estimates[reference] |= _named({"neutral_leak": mean(leak, people, count)}, opinion)  # type: ignore[index]
    found = np.isfinite(sources[f"neutral:{opinion}:found"]).any(axis=1)
    estimates["model"] |= _named({"neutral_detected": mean(found, people, count)}, opinion)
    if "zero:l1" not in sources:
        return
    if not opinion:
        estimates["model"]["zero_edit_l1"] = mean(sources["zero:l1"], people, count)
    moved = np.abs(sources[f"zero:{opinion}:found"] - sources[f"source:{opinion}:found"])
    zero = {
        "zero_edit_units": mean(_mean_of_known(moved[:, units]), people, count),
        "zero_edit_pose": mean(np.degrees(_mean_of_known(moved[:, : len(POSE_NAMES)])), people, count),
    }
    estimates["model"] |= _named(zero, opinion)


def _add_steps(
    scores: dict[str, Estimate],
    swept: list[Sweep],
    opinion: str,
    people: list[str],
    scale: IdentityScale | None,
    *,
    copied: bool,
) -> None:
    """The relative gain on single steps, the person, and their headline."""
    found = step_scores(swept, opinion, people, copied=copied)
    person = found.pop("step_identity", None)
    if person is not None and not opinion:  # face recognition looks once, whoever measures the attributes
        found["step_identity"] = person
        if scale is not None:
            found["step_identity_score"] = scale.score(person)
    scores |= _named(found, opinion)
    scores |= _named(_edit(scores, opinion, "step_"), opinion)


def _shares(estimates: Mapping[Reference, Mapping[str, Estimate]], opinion: str) -> dict[str, Estimate]:
    """The model's scores over those of the reference that each is best held against."""

    shares: dict[str, Estimate] = {}

    def add(share: str, name: str, reference: Reference) -> None:
        key = f"{opinion}/{name}" if opinion else name
        mine, other = estimates["model"].get(key), estimates[reference].get(key)
        if mine is not None and other is not None:
            shares[share] = joined([mine, other], lambda both: np.where(both[1] > 0, both[0] / both[1], np.nan))

    for unit in HEADLINE_UNITS:
        for family in ("within", "unit_r"):
            add(f"{family}_share.{unit}", f"{family}.{unit}", "noise_floor")
    add("neutral_leak_share", "neutral_leak", "copy_source")
    if not opinion:
        add("face_l1_share", "face_l1", "copy_source")
    return shares


def _values(pairs: Columns, sources: Columns, moments: Moments) -> dict[Reference, Values]:
    """Scores of sets of pictures."""
    values: dict[Reference, Values] = {}
    real = pairs.get("noise_floor:features")
    references: tuple[Reference, ...] = ("model", "copy_source")
    for reference in references if real is not None else ():
        made = pairs[f"{reference}:features"]
        values[reference] = {"fid_lite0": fid(made, real), "kid_lite0": kid(made, real)}  # type: ignore[arg-type]
    if moments:
        by = {what: each.variance() for (_, what), each in moments.items()}
        spread, between = by["source"], by["neutral"]
        # The neutral faces of one person cannot show whether all people get the same face.
        several = len(np.unique(sources["person"].astype(str))) > 1
        values.setdefault("model", {})["neutral_variance"] = between / spread if spread > 0 and several else None
    return values


def _named(scores: Mapping[str, Estimate], opinion: str) -> dict[str, Estimate]:
    """Scores by a second opinion as `NAME/metric`, without those that it does not measure."""
    if not opinion:
        return dict(scores)
    return {f"{opinion}/{name}": found for name, found in scores.items() if found.contributing()}


def _leak(labels: Labels) -> npt.NDArray[np.float64]:
    """(N,) sum of the measured action units; NaN where no face was found."""
    units = labels[:, len(POSE_NAMES) : len(ATTRIBUTE_NAMES)].astype(np.float64)
    return np.where(np.isfinite(units).any(axis=1), np.nansum(units, axis=1), np.nan)


def _mean_of_known(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1))


def _quotient(total: Doubles) -> Doubles:
    return np.where(total[..., 1] > 0, ratio(total), np.nan)
