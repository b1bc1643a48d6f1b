"""The gate's rule and verdicts on scores that are made up here, so that what is real is known."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.evaluation.measurements import Measurements
from icface.evaluation.report import GroupReport, Report
from icface.metrics.people import Difference
from orchestration.registry.gate import GateRule, Kept, Rule, differences, judge, verdict
from orchestration.registry.measurements import load, save

DOCUMENTED = Path(__file__).resolve().parents[3] / "docs/registry.md"
RULE = GateRule(rules=(Rule(metric="face_l1"), Rule(metric="face_l1", against="copy_source")))


def kept(errors: np.ndarray, copied: float = 0.06, group: str = "val") -> Kept:
    """An evaluation of one pair a row of `errors` (people, pairs): the face box's L1; nothing else differs."""
    people, each = errors.shape
    count = people * each
    text = {name: np.array([f"{name}{n}" for n in range(count)], object) for name in ("key", "track", "source_key")}
    labels = np.tile(np.linspace(0, 2, count, dtype=np.float32)[:, None], (1, len(ATTRIBUTE_NAMES)))
    pairs = {
        **text,
        "group": np.array([group] * count, object),
        "kind": np.array(["self"] * count, object),
        "person": np.repeat([f"p{n:02}" for n in range(people)], each).astype(object),
        "asked": labels,
        "own": labels * 0,
        "turn": np.zeros(count),
        "retrieval::found": labels,
    }
    for reference, values in (("model", errors.ravel()), ("copy_source", np.full(count, copied)), ("noise_floor", 0)):
        pairs[f"{reference}:face_l1"] = values + np.zeros(count)
        pairs[f"{reference}::found"] = labels
        pairs[f"{reference}:identity"] = np.full(count, np.nan)
    pairs["retrieval:face_l1"] = np.zeros(count)
    sources = {"group": pairs["group"], "person": pairs["person"], "source_key": text["source_key"]}
    report = Report(
        protocol="2",
        pairs_hash="h",
        analyzer="a 1",
        size=64,
        groups={group: GroupReport(pairs=count, sources=count, scores={"model": {}}, correlated={}, people=people)},
        clamped={},
    )
    return Kept(report=report, measured=Measurements(pairs=pairs, sources=sources))


def errors(mean: float, people: int = 12, seed: int = 0) -> np.ndarray:
    """People differ far more than two models do."""
    generator = np.random.default_rng(seed)
    return mean + generator.normal(0, 0.01, (people, 1)) + generator.normal(0, 0.002, (people, 5))


def test_a_small_difference_in_everybody_is_real_and_is_named() -> None:
    place, findings = judge(RULE, kept(errors(0.043)), kept(errors(0.04)), "version 1")
    assert place == "val, 60 pairs of 12 people"
    regression, copy = findings
    assert regression.verdict == "worse" and copy.verdict == "better"
    assert "face_l1 0.0" in str(regression) and "of version 1: worse (difference 0.003, 95 % 0.003" in str(regression)
    better = judge(RULE, kept(errors(0.037)), kept(errors(0.04)), "v")[1][0]
    assert better.verdict == "better"


def test_noise_is_the_same_and_does_not_hold_a_model_up() -> None:
    generator = np.random.default_rng(5)
    noisy = errors(0.04) + generator.normal(0, 0.01, (12, 5)) + 0.0005
    (finding, _) = judge(RULE, kept(noisy), kept(errors(0.04)), "version 1")[1]
    assert finding.mine != finding.theirs
    assert finding.verdict == "same"


def test_a_model_that_is_worse_than_copying_the_source_is_caught_even_as_the_first() -> None:
    (finding,) = judge(RULE, kept(errors(0.09), copied=0.037), None, "")[1]
    assert finding.verdict == "worse" and finding.other == "copying the source"


def test_a_rule_that_asks_for_copying_the_source_alone_needs_nothing_of_the_champion() -> None:
    rule = GateRule(rules=(Rule(metric="face_l1", against="copy_source"),))
    (finding,) = judge(rule, kept(errors(0.03), copied=0.037), kept(errors(0.04)), "version 1")[1]
    assert finding.verdict == "better"
    absent = GateRule(rules=(Rule(metric="identity"),))
    with pytest.raises(IcfaceError, match="version 1 has none of the rule's metrics in common"):
        judge(absent, kept(errors(0.03)), kept(errors(0.04)), "version 1")


def test_one_person_is_said_and_a_group_with_more_decides() -> None:
    lonely = kept(errors(0.05, people=1))
    place, (finding, _) = judge(RULE, lonely, kept(errors(0.04, people=1)), "version 1")
    assert place == "val, 5 pairs of 1 person, so without intervals"
    assert finding.found.interval is None and finding.verdict == "worse"
    both = kept(errors(0.05), group="held_out")
    together = Kept(
        report=replace(both.report, groups={**lonely.report.groups, **both.report.groups}),
        measured=Measurements(
            pairs={k: np.concatenate([v, both.measured.pairs[k]]) for k, v in lonely.measured.pairs.items()},
            sources={k: np.concatenate([v, both.measured.sources[k]]) for k, v in lonely.measured.sources.items()},
        ),
    )
    assert judge(RULE, together, None, "")[0].startswith("held_out, 60 pairs of 12 people")


def test_a_tolerance_forgives_what_lies_within_it() -> None:
    for tolerance, expected in ((0.0, "worse"), (0.01, "same")):
        rule = GateRule(rules=(Rule(metric="face_l1", tolerance=tolerance),))
        (finding,) = judge(rule, kept(errors(0.043)), kept(errors(0.04)), "version 1")[1]
        assert finding.verdict == expected


@pytest.mark.parametrize(
    ("interval", "first", "way", "expected"),
    [
        ((0.1, 0.2), 0.5, "nearer to 1", "better"),
        ((0.1, 0.2), 1.0, "nearer to 1", "worse"),
        ((-0.2, 0.2), 1.0, "nearer to 1", "same"),
        ((0.3, 0.9), 0.5, "nearer to 1", "better"),
        ((0.1, 0.2), 0.5, "higher", "better"),
        ((-0.2, 0.1), 0.5, "higher", "same"),
    ],
)
def test_verdicts(interval: tuple[float, float], first: float, way: str, expected: str) -> None:
    assert verdict(Difference(value=sum(interval) / 2, interval=interval, people=9), first, way) == expected


def test_differences_are_of_the_same_people() -> None:
    found = differences(kept(errors(0.04)), kept(errors(0.043)))
    assert found["val/face_l1"].value == pytest.approx(0.003)
    assert found["val/face_l1"].real is True
    assert found["val/r.AU12"].value == 0 and found["val/r.AU12"].real is False


def test_what_was_measured_comes_back_from_its_files(tmp_path: Path) -> None:
    before = kept(errors(0.04))
    before.measured.pairs["model:features"] = np.zeros((60, 320), np.float32)
    save(before.measured, tmp_path)
    after = load(tmp_path)
    assert "model:features" not in after.pairs, "large, and for sets of pictures alone"
    for name, column in after.pairs.items():
        np.testing.assert_array_equal(column, before.measured.pairs[name])
    assert differences(before, replace(before, measured=after))["val/face_l1"].value == 0
    with pytest.raises(IcfaceError, match="cannot be read"):
        load(tmp_path / "nowhere")


def test_the_page_shows_the_rule_that_holds_without_a_file(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(groups.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    (tmp_path / "rule.yaml").write_text(text)
    assert GateRule.read(tmp_path / "rule.yaml") == GateRule()


def test_the_rule_is_a_file_and_mistakes_in_it_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(
        "groups: [val]\nrules:\n  - {metric: unit_r.AU12, tolerance: 0.1}\n  - {metric: gain, direction: higher}\n"
    )
    rule = GateRule.read(path)
    assert rule.groups == ("val",)
    assert [(each.metric, each.way, each.tolerance) for each in rule.rules] == [
        ("unit_r.AU12", "higher", 0.1),
        ("gain", "higher", 0.0),
    ]
    for text, message in (
        ("rules: [{metric: beauty}]", "unknown metric 'beauty'"),
        ("rules: [{metric: gain, tolerance: -1}]", "tolerance must be"),
        ("rules: [{metric: gain, tolerance: .nan}]", "tolerance must be"),
        ("rules: [{metric: gain, weight: 1}]", "weight"),
        ("rules: [{metric: slope.AU12}]", "cannot look at slope.AU12"),
        ("rules: []", "it needs rules"),
        ("groups: [val]", "it needs rules"),
        ("other: 1\nrules: [{metric: gain}]", "unknown field 'other'"),
        ("just words", "is not a gate's rule"),
        ("{", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(IcfaceError, match=message):
            GateRule.read(path)
