"""What an evaluation says: scores of the model beside those of doing nothing and of the real frames."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from icface.errors import IcfaceError

PROTOCOL = "2"
"""Changes whenever the same model would score differently on the same pairs."""

Reference = Literal["model", "copy_source", "retrieval", "mean_attributes", "noise_floor"]
REFERENCES: tuple[Reference, ...] = ("model", "copy_source", "retrieval", "mean_attributes", "noise_floor")
"""`copy_source`: the source picture as it is. `retrieval`: the frame of the source's track that is nearest in
attributes to what is asked. `mean_attributes`: no picture, every pair gets the mean of what is asked. `noise_floor`:
the real driving frame at the model's size."""

METRICS = {
    "face_l1": "mean absolute difference to the driving frame within its face box, 0..1",
    "l1": "the same over the whole picture",
    "eyes_l1": "the same around the eyes",
    "mouth_l1": "the same around the mouth",
    "face_psnr": "peak signal-to-noise ratio within the face box, dB, 60 at most",
    "psnr": "the same over the whole picture",
    "face_ssim": "structural similarity to the driving frame within the face box, -1..1",
    "ssim": "the same over the whole picture",
    "face_ms_ssim": "multi-scale structural similarity within the face box, 0..1; of 176 px or more",
    "ms_ssim": "the same over the whole picture",
    "sharpness": "variance of the Laplacian within the face box over the driving frames', best at 1",
    "landmark_distance": "mean distance of 68 landmarks from the driving frame's, % of the inter-ocular distance",
    "detected": "share of the pictures in which a face is found",
    "pose_error": "mean absolute error of the re-analysed pose, degrees: mean of the three axes, and each",
    "geodesic": "mean angle between the asked and the re-analysed head rotation, degrees",
    "r": "Pearson's r of what was asked for and what is found again, over all pairs",
    "within": "the same after each track's mean is taken away, so that differences between people do not count",
    "unit_r": "within a track, the mean over people whose real deviation is 0.3 or more; and the mean over the units",
    "error": "mean absolute error of the re-analysed action unit, 0..5",
    "icc": "ICC(3,1) of asked and re-analysed action unit, -1..1: as r, but the scale counts too",
    "gain": "measured change of the action units over the asked change, best at 1; copying the source has 0",
    "gain_pose": "the same of the pose",
    "identity": "distance from the source picture as dlib's face recognition sees it, below 0.6 the same person",
    "identity_share": "share of the pictures with a distance below 0.6",
    "identity_score": "that distance scaled: 0 the median of different people, 1 that of one person's real frames",
    "edit_score": "harmonic mean of gain (1 at a gain of 1, 0 at 0 and at 2) and identity_score, 0..1",
    "fid_lite0": "Frechet distance of the sets of pictures in EfficientNet-Lite0's features (not Inception's FID)",
    "kid_lite0": "kernel distance of the same features (not Inception's KID)",
    "neutral_leak": "sum of the action units that are found in the neutral face (the source's own for copy-source)",
    "neutral_detected": "share of the neutral faces in which a face is found",
    "face_l1_share": "face_l1 over that of copy-source, below 1 the model is nearer to the real frame than the source",
    "within_share": "within over the noise floor's, 1 where the outputs show it as clearly as real frames do",
    "unit_r_share": "unit_r over the noise floor's",
    "neutral_leak_share": "neutral_leak over the source's own, 0 where the neutral face shows no expression",
    "neutral_variance": "variance between the neutral faces of different sources, over that of the sources",
    "zero_edit_l1": "whole picture's L1 to the source where the source's own attributes are asked for, 0..1",
    "zero_edit_units": "mean absolute change of the action units then, 0..5",
    "zero_edit_pose": "mean absolute change of pitch, yaw and roll then, degrees",
    "slope": "measured value on asked value, single attributes stepped on neutral faces, best at 1",
    "response": "Pearson's r of the same two, within a source",
    "r2": "share of the measured variance that a straight line explains, the mean over sources, 0..1",
    "monotonic": "Spearman's rho of the same two, the mean over sources, -1..1",
    "leak": "mean absolute change of the other units for each unit of the stepped one",
    "leak_pose": "mean absolute change of the pose for each unit of the stepped one, degrees",
    "step_gain": "gain of single units stepped on neutral faces, best at 1; a picture that stays as it is has 0",
    "step_gain_pose": "the same of pitch, yaw and roll",
    "step_detected": "share of the stepped pictures in which a face is found",
    "step_identity": "identity of the largest steps: their distance from the source",
    "step_identity_score": "that distance scaled as identity_score",
    "step_edit_score": "harmonic mean of step_gain and step_identity_score as edit_score, 0..1",
    "jitter": "mean absolute second difference over consecutive frames, over the real clip's, best at 1",
}
"""What each metric's name (before its dot) means. r and `within` are None where what is asked for hardly varies.

A name with a slash is the same metric by a second analyzer, as `dlib/within.AU12`. See docs/evaluation.md.
"""
HEADLINE_UNITS = ("AU01", "AU02", "AU12", "AU25", "AU26", "AU45")
"""The action units to look at first: brows, smile, lips, jaw, lids. Both analyzers measure them."""
HEADLINE = (
    *("edit_score", "gain", "identity", "identity_score", "identity_share", "face_l1", "face_l1_share", "l1"),
    *("eyes_l1", "mouth_l1", "psnr", "ssim", "ms_ssim", "sharpness", "kid_lite0", "landmark_distance", "detected"),
    *("pose_error", "pose_error.pitch", "pose_error.yaw", "pose_error.roll", "geodesic", "r.yaw", "within.yaw"),
    *("unit_r", "error", "icc"),
    *(f"{family}.{name}" for name in ("AU12", "AU25", "AU45") for family in ("r", "within")),
    *(f"{who}within_share.{name}" for who in ("", "dlib/") for name in HEADLINE_UNITS),
    *("step_edit_score", "step_gain", "step_identity_score"),
    *(f"slope.{name}" for name in ("AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45")),
    *("leak", "leak_pose", "neutral_leak", "neutral_leak_share", "zero_edit_l1", "zero_edit_units"),
    *("jitter.pixels", "jitter.units", "dlib/gain", "dlib/edit_score", "dlib/unit_r"),
)
"""The metrics to look at first. Of few tracks look at `within`: r is high wherever people differ."""
HIGHER_IS_BETTER = frozenset(
    {
        *("psnr", "face_psnr", "ssim", "face_ssim", "ms_ssim", "face_ms_ssim"),
        *("detected", "neutral_detected", "step_detected"),
        *("r", "within", "unit_r", "icc"),
        *("within_share", "unit_r_share", "response", "r2", "monotonic"),
        *("identity_share", "identity_score", "edit_score", "step_identity_score", "step_edit_score"),
    }
)
"""Of the others lower is better, but for `BEST_AT_ONE`."""
BEST_AT_ONE = frozenset(
    {"sharpness", "neutral_variance", "slope", "gain", "gain_pose", "step_gain", "step_gain_pose", "jitter"}
)
WITHOUT_ANALYZER = frozenset(
    {
        *("face_l1", "l1", "eyes_l1", "mouth_l1", "face_psnr", "psnr", "face_ssim", "ssim", "ms_ssim", "sharpness"),
        *("face_ms_ssim", "identity", "identity_share", "identity_score", "fid_lite0", "kid_lite0", "face_l1_share"),
        *("neutral_variance", "zero_edit_l1", "step_identity", "step_identity_score"),
    }
)
"""Metrics that no face analyzer has a part in. The others carry `SAME` where it labelled or taught the training."""
SAME = "same_analyzer"
DISAGREEMENT = 0.3
"""Two analyzers disagree where the model's share of the noise floor differs by more than this between them."""


def base(metric: str) -> str:
    """A metric's name in `METRICS`.

    >>> base("dlib/within.AU12")
    'within'
    """
    return metric.rpartition("/")[2].split(".")[0]


@dataclass(frozen=True, kw_only=True)
class GroupReport:
    """The scores of one group of pairs."""

    pairs: int
    sources: int
    scores: Mapping[str, Mapping[str, float | None]]
    """reference -> metric -> score; None where a metric says nothing (see `METRICS`)."""
    correlated: Mapping[str, int]
    """attribute -> number of pairs behind the model's correlation."""
    leakage: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """analyzer -> stepped attribute -> measured attribute -> its slope, raw units over raw units; "" is the first."""
    people: int | None = None
    """Identities of the sources; None in evaluations of version 0.1."""
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The model's metric -> its 95 % interval over people; nothing for one person."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """action unit -> why it has no part in `unit_r`."""
    response: Mapping[str, Mapping[str, Sequence[Sequence[float | None]]]] = field(default_factory=dict)
    """stepped attribute -> `asked`, and analyzer ("" is the first) -> a curve for each source."""
    keys: Sequence[str] = ()
    """The pairs, in order; nothing in evaluations of version 0.1."""
    curves: Sequence[Mapping[str, Any]] = ()
    """Consecutive frames: `name`, and attribute -> `asked`, `real`, `measured`, a number a frame."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found."""

    protocol: str
    pairs_hash: str
    analyzer: str
    """Name and fingerprint of the analyzer that measured the pictures."""
    size: int
    """Width and height of the model's pictures, px."""
    groups: Mapping[str, GroupReport]
    clamped: Mapping[str, int]
    """Values asked for outside the schema's range, by attribute; only those that occurred."""
    second: str | None = None
    """Name and fingerprint of the analyzer that gave a second opinion."""
    same_analyzer: bool | None = None
    """Whether the first analyzer labelled or taught the training, so that its scores flatter the model; None where
    nobody knows."""
    identity_scale: Mapping[str, float] | None = None
    """`impostor` and `genuine`: the median distances that `identity_score` is scaled by."""

    def to_json(self) -> dict[str, Any]:
        """Plain dicts; no NaN in them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Report":
        """What `to_json` wrote. Raises IcfaceError when it is something else."""
        try:
            groups = {name: GroupReport(**group) for name, group in values["groups"].items()}
            return cls(**{**values, "groups": groups})
        except (KeyError, TypeError, AttributeError) as error:
            raise IcfaceError(f"this evaluation cannot be read: {error}") from None

    @property
    def comparable(self) -> str:
        """Equal strings, comparable numbers: protocol, pairs, analyzer and size in one hash."""
        facts = json.dumps([self.protocol, self.pairs_hash, self.analyzer, self.size])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def metrics(self, reference: Reference = "model") -> dict[str, float]:
        """A row's scores as flat names for a tracking server, `held_out/face_l1`; None is left out."""
        return {
            f"{group}/{self.shown(metric)}": value
            for group, report in self.groups.items()
            for metric, value in report.scores.get(reference, {}).items()
            if value is not None
        }

    def shown(self, metric: str) -> str:
        """A metric's name for people: `same_analyzer/...` where the training knew the analyzer that measured it."""
        plain = "/" not in metric and base(metric) not in WITHOUT_ANALYZER
        return f"{SAME}/{metric}" if self.same_analyzer and plain else metric

    def disagreements(self) -> list[str]:
        """A sentence for each unit that the first analyzer reads far better off the outputs than the second does.

        A model trained against an analyzer may please it without the expression being there.
        """
        found = []
        for group, report in self.groups.items():
            scores = report.scores["model"]
            for name, theirs in scores.items():
                opinion, _, metric = name.rpartition("/")
                mine = scores.get(metric)
                if not opinion or base(metric) != "within_share" or mine is None or theirs is None:
                    continue
                if mine - theirs > DISAGREEMENT:
                    found.append(
                        f"{group}: {metric.split('.')[1]} reaches {mine:.2f} of the noise floor by "
                        f"{self.analyzer.split()[0]}, but {theirs:.2f} by {opinion}: look at the pictures"
                    )
        return found

    def rows(self, only: Collection[str] | None = None) -> list[tuple[str, ...]]:
        """Table rows of text: group, metric, which way is better, model, its 95 % interval, then the references.

        `only`: the metrics to show, as `HEADLINE`; all by default. Metrics that say nothing are left out.
        """
        heading = ("pairs", "metric", "best", "model", "95 %", "copy source", "nearest", "mean values", "noise floor")
        rows: list[tuple[str, ...]] = [heading]
        for group, report in self.groups.items():
            # Old evaluations have fewer references, and no people.
            people = (
                "" if report.people is None else f", {report.people} {'person' if report.people == 1 else 'people'}"
            )
            # What is asked for comes in its own order: the first are the ones to look at first.
            for metric in report.scores["model"] if only is None else only:
                cells = [report.scores.get(reference, {}).get(metric) for reference in REFERENCES]
                if any(cell is not None for cell in cells):
                    mine, *others = (number(cell) for cell in cells)
                    interval = report.intervals.get(metric)
                    between = "–" if interval is None else f"{number(interval[0])} … {number(interval[1])}"
                    name = f"{group} ({report.pairs} pairs{people})"
                    rows.append((name, self.shown(metric), arrow(metric), mine, between, *others))
        return rows


def number(value: float | None) -> str:
    """Three decimals; no minus before a zero.

    >>> number(-0.0001), number(12.3456), number(None)
    ('0.000', '12.346', '–')
    """
    return "–" if value is None else f"{value + 0.0 if round(value, 3) else 0.0:.3f}"


def arrow(metric: str) -> str:
    """Which way is better: up, down, or towards 1.

    >>> arrow("ssim"), arrow("dlib/error.AU12"), arrow("slope.AU12")
    ('↑', '↓', '→1')
    """
    name = base(metric)
    return "↑" if name in HIGHER_IS_BETTER else "→1" if name in BEST_AT_ONE else "↓"
