"""What an evaluation says: scores of the model beside those of doing nothing and of the real frames."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from icface.errors import IcfaceError

PROTOCOL = "1"
"""Changes whenever the same model would score differently on the same pairs."""

Reference = Literal["model", "copy_source", "noise_floor"]
REFERENCES: tuple[Reference, ...] = ("model", "copy_source", "noise_floor")
"""`copy_source`: the source picture as it is. `noise_floor`: the real driving frame at the model's size."""

METRICS = {
    "face_l1": "mean absolute difference to the driving frame within its face box, 0..1",
    "l1": "the same over the whole picture",
    "ssim": "structural similarity to the driving frame, whole picture",
    "sharpness": "variance of the Laplacian within the face box over the driving frames', best at 1",
    "detected": "share of the pictures in which a face is found",
    "pose_error": "mean absolute error of the re-analysed pose, degrees: mean of the three axes, and each",
    "r": "Pearson's r of what was asked for and what is found again, over all pairs",
    "within": "the same after each track's mean is taken away, so that differences between people do not count",
    "error": "mean absolute error of the re-analysed action unit, 0..5",
    "identity": "distance from the source picture as dlib's face recognition sees it, below 0.6 the same person",
    "neutral_leak": "sum of the action units that are found in the neutral face (the source's own for copy-source)",
    "face_l1_share": "face_l1 over that of copy-source, below 1 the model is nearer to the real frame than the source",
    "within_share": "within over the noise floor's, 1 where the outputs show it as clearly as real frames do",
    "neutral_leak_share": "neutral_leak over the source's own, 0 where the neutral face shows no expression",
    "slope": "measured value on asked value, single attributes stepped on neutral faces, best at 1",
    "response": "Pearson's r of the same two, within a source",
    "leak": "mean absolute change of the other units for each unit of the stepped one",
    "leak_pose": "mean absolute change of the pose for each unit of the stepped one, degrees",
    "neutral_variance": "variance between the neutral faces of different tracks, over that of the sources",
}
"""What each metric's name (before its dot) means. r and `within` are None where what is asked for hardly varies.

A name with a slash is the same metric by a second analyzer, as `dlib/within.AU12`. See docs/evaluation.md.
"""
HEADLINE_UNITS = ("AU01", "AU02", "AU12", "AU25", "AU26", "AU45")
"""The action units to look at first: brows, smile, lips, jaw, lids. Both analyzers measure them."""
HEADLINE = (
    *("face_l1", "face_l1_share", "l1", "ssim", "sharpness", "detected", "pose_error"),
    *("pose_error.pitch", "pose_error.yaw", "pose_error.roll", "r.yaw", "within.yaw"),
    *(f"{family}.{name}" for name in ("AU12", "AU25", "AU45") for family in ("r", "within")),
    *(f"{who}within_share.{name}" for who in ("", "dlib/") for name in HEADLINE_UNITS),
    *(f"slope.{name}" for name in ("AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45")),
    *("leak", "leak_pose", "identity", "neutral_leak", "neutral_leak_share"),
)
"""The metrics to look at first. Of few tracks look at `within`: r is high wherever people differ."""
HIGHER_IS_BETTER = frozenset({"ssim", "detected", "r", "within", "within_share", "response"})
"""Of the others lower is better, but for `BEST_AT_ONE`."""
BEST_AT_ONE = frozenset({"sharpness", "neutral_variance", "slope"})
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
    """reference -> metric -> mean over the pairs; None where a metric says nothing (see `METRICS`)."""
    correlated: Mapping[str, int]
    """attribute -> number of pairs behind the model's correlation."""
    leakage: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """analyzer -> stepped attribute -> measured attribute -> its slope, raw units over raw units; "" is the first."""


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

    def metrics(self) -> dict[str, float]:
        """The model's scores as flat names for a tracking server, `held_out/face_l1`; None is left out."""
        return {
            f"{group}/{metric}": value
            for group, report in self.groups.items()
            for metric, value in report.scores["model"].items()
            if value is not None
        }

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
        """Table rows of text: group, metric, model, copy-source, noise floor; the first row is the heading.

        `only`: the metrics to show, as `HEADLINE`; all by default. Metrics that say nothing are left out.
        """
        rows: list[tuple[str, ...]] = [("pairs", "metric", "model", "copy-source", "noise floor")]
        for group, report in self.groups.items():
            for metric in (name for name in report.scores["model"] if only is None or name in only):
                cells = [report.scores[reference].get(metric) for reference in REFERENCES]
                if any(cell is not None for cell in cells):
                    rows.append(
                        (f"{group} ({report.pairs})", metric, *("–" if c is None else f"{c:.3f}" for c in cells))
                    )
        return rows
