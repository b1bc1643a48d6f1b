"""The rule of the promotion gate: which scores may not get worse, and by how much; a small YAML that a team can set.

```yaml
groups: [val, held_out, cross]      # the first with two people or more decides
rules:
  - {metric: face_l1}               # not really worse than the version that has the alias
  - {metric: unit_r, tolerance: 0.02}
  - {metric: face_l1, against: copy_source}
```
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from icface.attributes import AttributeSchema
from icface.errors import IcfaceError
from icface.evaluation.measurements import Measurements
from icface.evaluation.report import BEST_AT_ONE, HIGHER_IS_BETTER, METRICS, Report, base, number
from icface.evaluation.scores import GroupScores, IdentityScale, score
from icface.metrics.people import Difference, Estimate, difference

Direction = Literal["lower", "higher", "nearer to 1"]
Against = Literal["alias", "copy_source"]
GROUPS = ("val", "held_out", "cross")
"""The first that is there decides: people who were not trained on come first."""
ENOUGH_PEOPLE = 2
NOT_KEPT = frozenset(
    {
        *("fid_lite0", "kid_lite0", "neutral_variance", "jitter"),
        *("slope", "response", "r2", "monotonic", "leak", "leak_pose"),
        *("step_gain", "step_gain_pose", "step_detected", "step_identity", "step_identity_score", "step_edit_score"),
    }
)
"""Metrics of sets of pictures, films and sweeps: what is kept of each pair does not give them again."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A score that may not get worse."""

    metric: str
    """One of `icface.evaluation.report.METRICS` but those of `NOT_KEPT`, with its ending, as `unit_r.AU12`."""
    direction: Direction | None = None
    """Which way is better; by default the metric's own."""
    tolerance: float = 0.0
    """How much worse it may be, in the metric's unit."""
    against: Against = "alias"
    """`alias`: the version that has the alias now. `copy_source`: the source picture as it is."""

    def __post_init__(self) -> None:
        if base(self.metric) not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; known are {', '.join(METRICS)}")
        if base(self.metric) in NOT_KEPT:
            raise ValueError(f"the gate cannot look at {self.metric}: its parts are not kept with an evaluation")
        if self.direction not in (None, "lower", "higher", "nearer to 1"):
            raise ValueError(f"direction must be lower, higher or nearer to 1, not {self.direction!r}")
        if self.against not in ("alias", "copy_source"):
            raise ValueError(f"against must be alias or copy_source, not {self.against!r}")
        number_given = isinstance(self.tolerance, int | float) and not isinstance(self.tolerance, bool)
        if not number_given or not math.isfinite(self.tolerance) or self.tolerance < 0:
            raise ValueError(f"tolerance must be a number that is not negative, not {self.tolerance!r}")

    @property
    def way(self) -> Direction:
        """Which way the metric is better: as the rule says, else as is known of the metric."""
        return self.direction or direction(self.metric)


@dataclass(frozen=True, kw_only=True)
class GateRule:
    """What the gate looks at."""

    groups: tuple[str, ...] = GROUPS
    rules: tuple[Rule, ...] = (
        Rule(metric="face_l1"),
        Rule(metric="unit_r", tolerance=0.02),
        Rule(metric="pose_error", tolerance=0.5),
        Rule(metric="detected", tolerance=0.01),
        Rule(metric="edit_score", tolerance=0.02),
        Rule(metric="face_l1", against="copy_source"),
    )

    @classmethod
    def read(cls, path: str | Path) -> "GateRule":
        """A YAML file. Raises IcfaceError that names the file and the field."""
        try:
            values = yaml.safe_load(Path(path).read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise IcfaceError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        try:
            unknown = values.keys() - {"groups", "rules"}
            if unknown:
                raise ValueError(f"unknown field {min(unknown)!r}; known are groups, rules")
            rules = tuple(Rule(**rule) for rule in values.get("rules") or ())
            groups = tuple(values.get("groups", GROUPS))
            if not rules or not groups or set(groups) - set(GROUPS):
                raise ValueError(f"it needs rules, and groups out of {', '.join(GROUPS)}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IcfaceError(f"{path} is not a gate's rule: {error}") from None
        return cls(groups=groups, rules=rules)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An evaluation with what was measured of each pair."""

    report: Report
    measured: Measurements

    def group(self, name: str) -> GroupScores:
        """The scores of a group, as sums over people."""
        scale = self.report.identity_scale
        known = IdentityScale(**scale) if scale else None
        return score(self.measured.group(name), AttributeSchema.default(), known)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How one rule came out."""

    rule: Rule
    mine: float
    theirs: float
    found: Difference
    other: str
    """What it was held against, in words."""

    @property
    def verdict(self) -> str:
        """`better`, `same` or `worse`; only a difference whose interval leaves the tolerance out is worse."""
        return verdict(self.found, self.theirs, self.rule.way, self.rule.tolerance)

    def __str__(self) -> str:
        mine, theirs = f"{self.mine:.4f}", f"{self.theirs:.4f}"
        return f"{self.rule.metric} {mine} against {theirs} of {self.other}: {self.verdict}{_between(self.found)}"


def direction(metric: str) -> Direction:
    """Which way `metric` is better.

    >>> direction("face_l1"), direction("r.AU12"), direction("sharpness")
    ('lower', 'higher', 'nearer to 1')
    """
    name = base(metric)
    return "higher" if name in HIGHER_IS_BETTER else "nearer to 1" if name in BEST_AT_ONE else "lower"


def verdict(found: Difference, first: float, way: Direction, tolerance: float = 0.0) -> str:
    """`better`, `same` or `worse`: a second score beside a `first` one.

    A difference counts where its 95 % interval leaves 0 out, and getting worse where it leaves out everything within
    `tolerance`. Without an interval the difference itself decides.

    >>> sure = Difference(value=-0.1, interval=(-0.2, -0.05), people=9)
    >>> verdict(sure, 0.5, "lower"), verdict(sure, 0.5, "higher"), verdict(sure, 0.5, "higher", tolerance=0.1)
    ('better', 'worse', 'same')
    >>> verdict(Difference(value=-0.1, interval=(-0.3, 0.1), people=9), 0.5, "lower")
    'same'
    """
    ends = np.array(found.interval or (found.value, found.value))
    if way == "nearer to 1":
        # How much farther from 1 the second is; both ends of the interval on one side of 1 or the other.
        worse = np.sort(np.abs(first + ends - 1) - abs(first - 1))
        if np.sign(first + ends[0] - 1) != np.sign(first + ends[1] - 1):
            worse[0] = -abs(first - 1)
    else:
        worse = np.sort(ends if way == "lower" else -ends)
    if worse[0] > tolerance:
        return "worse"
    return "better" if worse[1] < 0 else "same"


def judge(rule: GateRule, candidate: Kept, champion: Kept | None, champion_name: str) -> tuple[str, list[Finding]]:
    """The group that decides, with its numbers of pairs and people, and what each rule found there.

    Rules against the alias are left out where nothing has it (`champion` None); so are metrics that say nothing.
    Raises IcfaceError where no group of the rule was evaluated, or none of the rules against a champion could be
    looked at.
    """
    groups = [name for name in rule.groups if name in candidate.report.groups]
    if not groups:
        raise IcfaceError(f"the evaluation has none of the groups {', '.join(rule.groups)}; evaluate again")
    several = [name for name in groups if (candidate.report.groups[name].people or 0) >= ENOUGH_PEOPLE]
    name = (several or groups)[0]
    mine = candidate.group(name)
    theirs = None if champion is None else champion.group(name)
    findings = []
    for each in rule.rules:
        own = mine.estimates["model"].get(each.metric)
        if each.against == "copy_source":
            other, words = mine.estimates["copy_source"].get(each.metric), "copying the source"
        else:
            other = None if theirs is None else theirs.estimates["model"].get(each.metric)
            words = champion_name
        finding = _finding(each, own, other, words)
        if finding is not None:
            findings.append(finding)
    wanted, looked_at = (
        any(each.against == "alias" for each in rules) for rules in (rule.rules, [finding.rule for finding in findings])
    )
    if champion is not None and wanted and not looked_at:
        raise IcfaceError(f"{champion_name} has none of the rule's metrics in common; evaluate both again")
    report = candidate.report.groups[name]
    return f"{name}, {report.pairs} pairs of {people_in_words(report.people)}", findings


def people_in_words(count: int | None) -> str:
    """`17 people`; one says so.

    >>> people_in_words(17), people_in_words(1)
    ('17 people', '1 person, so without intervals')
    """
    return "1 person, so without intervals" if count == 1 else f"{count} people"


def differences(first: Kept, second: Kept) -> Mapping[str, Difference]:
    """group/metric -> how the second model's scores differ from the first's on the same pairs."""
    found = {}
    for group in first.report.groups:
        if group not in second.report.groups:
            continue
        a, b = (kept.group(group).estimates["model"] for kept in (first, second))
        for metric in a.keys() & b.keys():
            apart = difference(a[metric], b[metric])
            if apart is not None:
                found[f"{group}/{metric}"] = apart
    return found


def _finding(rule: Rule, own: Estimate | None, other: Estimate | None, words: str) -> Finding | None:
    if own is None or other is None:
        return None
    found, mine, theirs = difference(other, own), own.value(), other.value()
    if found is None or mine is None or theirs is None:
        return None
    return Finding(rule=rule, mine=mine, theirs=theirs, found=found, other=words)


def _between(found: Difference) -> str:
    if found.interval is None:
        return ""
    low, high = (number(end) for end in found.interval)
    return f" (difference {number(found.value)}, 95 % {low} … {high})"
