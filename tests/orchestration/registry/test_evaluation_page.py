"""The page of an evaluation, its pictures, and the same evaluation by several processes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.data
from support.datasets import build_dataset, flat_config
from support.ray_nodes import patient

from icface.evaluation.report import Report
from orchestration.__main__ import main
from orchestration.registry import distributed_evaluation, evaluation_page
from orchestration.registry.charts import Line, heat_map, line_chart
from orchestration.registry.evaluation import Evaluated, evaluated


@pytest.fixture(scope="module")
def two_people(workplace: Path, small_dataset: Path) -> str:
    """The two sample clips as people who are never trained on."""
    clips = str(small_dataset.parent / "clips")
    build_dataset(flat_config(source=clips, dataset="two", size=32, every=3, val_fraction=1.0))
    return str(workplace / "two")


@pytest.fixture(scope="module")
def found(untrained_bundle: Path, two_people: str) -> Evaluated:
    return evaluated(str(untrained_bundle), two_people, per_track=4, stepped=1)


def test_the_page_holds_everything_that_it_shows(found: Evaluated, workplace: Path) -> None:
    evaluation_page.write(workplace / "page.html", "face 1", found.report, found.sheets())
    page = (workplace / "page.html").read_text()
    assert "<title>Evaluation of face 1</title>" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "nothing is fetched from elsewhere"
    for part in (
        "face_l1",
        "val: 8 pairs, 2 sources, 2 people",
        "One clip, frame by frame",
        "stepped on neutral faces",
        "What else moves",
        "noise floor",
    ):
        assert part in page, part
    for words in (
        "Worst: largest face l1",
        "Best: smallest face l1",
        "Sample: evenly spread",
        "Worst: largest pose error",
    ):
        assert words.lower() in page.lower(), words
    assert page.count("<svg") > 20 and page.count("data:image/jpeg") == 6
    assert "unit_r: AU" in page and "not measured" in page, "units that are left out are named"
    assert "-0.000" not in page


def test_the_worst_pairs_are_those_with_the_largest_error(found: Evaluated) -> None:
    sheets = {(sheet.group, sheet.choice): sheet for sheet in found.sheets()}
    assert set(sheets) == {(group, choice) for group in ("val", "cross") for choice in ("sample", "worst", "best")}
    worst, best = sheets["val", "worst"].picture, sheets["val", "best"].picture
    assert worst.shape == best.shape, "one pair of each of two tracks"
    assert (worst != best).any()


def test_a_chart_has_its_lines_and_leaves_gaps() -> None:
    lines = [
        Line(name="a", x=[0, 1, 2, 3], y=[0.0, None, 2.0, 3.0], colour="#000000"),
        Line(name="b & c", x=[0, 3], y=[1.0, 1.0], colour="#ff0000", dashed=True),
    ]
    chart = line_chart("AU12 <smile>", lines)
    assert chart.count("<polyline") == 3, "two parts of the first line, and the second"
    assert "AU12 &lt;smile&gt;" in chart and "b &amp; c" in chart
    points = re.findall(r'points="([^"]*)"', chart)
    (x0, y0), (x1, y1) = ([float(n) for n in point.split(",")] for point in points[1].split())
    assert x1 > x0 and y1 < y0, "larger values lie higher"
    assert line_chart("nothing", [Line(name="a", x=[0], y=[None], colour="#000000")]) == ""


def test_the_leakage_marks_the_attribute_itself() -> None:
    table = heat_map({"AU12": {"AU12": 0.9, "AU25": -0.3, "pose_yaw": 0.01}}, ["pose_yaw", "AU12", "AU25", "AU26"])
    cells = re.findall(r"<td[^>]*>[^<]*</td>|<td></td>", table)
    assert len(cells) == 4
    assert "outline" in cells[1] and "0.9" in cells[1]
    assert "-0.3" in cells[2] and "outline" not in cells[2]
    assert "·" in cells[0] and cells[3] == "<td></td>"


def test_the_command_writes_page_and_numbers(
    untrained_bundle: Path, two_people: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(untrained_bundle), two_people, "--split", "val", "--per-track", "2"]
    words += ["--steps", "0", "--analyzer", "mediapipe", "--html", "e.html", "--json", "e.json", "--output", "json"]
    assert main(words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    table = next(row for row in rows if row["event"] == "table")
    face = next(row for row in table["rows"] if row["metric"] == "face_l1")
    assert face["pairs"] == "val (4 pairs, 2 people)" and face["best"] == "↓"
    report = Report.from_json(json.loads(Path("e.json").read_text()))
    assert report.same_analyzer is True
    low, high = report.groups["val"].intervals["face_l1"]
    assert low <= report.groups["val"].scores["model"]["face_l1"] <= high
    assert "same_analyzer/" in Path("e.html").read_text()


def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task holds the pairs of one source, so that there are more tasks than processes."""
    monkeypatch.setattr(distributed_evaluation, "PAIRS_A_TASK", 1)


def check_alike(spread: Evaluated, found: Evaluated) -> None:
    assert spread.measured.pairs["key"].tolist() == found.measured.pairs["key"].tolist()
    for column in ("model:face_l1", "copy_source:face_l1", "model::found", "noise_floor::found"):
        np.testing.assert_allclose(spread.measured.pairs[column], found.measured.pairs[column], atol=1e-3)
    assert spread.measured.moments.keys() == found.measured.moments.keys()
    source = spread.measured.moments["val", "source"]
    np.testing.assert_array_equal(source.squares, found.measured.moments["val", "source"].squares)
    here, there = found.report.groups["val"], spread.report.groups["val"]
    for metric in ("face_l1", "r.yaw", "slope.yaw", "neutral_leak", "neutral_variance", "step_gain"):
        assert there.scores["model"][metric] == pytest.approx(here.scores["model"][metric], abs=0.05), metric
    assert there.people == here.people and set(there.intervals) == set(here.intervals)


@pytest.mark.system
def test_two_processes_find_what_one_finds(
    found: Evaluated, untrained_bundle: Path, two_people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several_tasks(monkeypatch)
    told: list[tuple[int, int]] = []
    spread = evaluated(
        str(untrained_bundle),
        two_people,
        per_track=4,
        stepped=1,
        workers=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 16), (8, 16), (12, 16), (16, 16)], "each task is told when it is done"
    check_alike(spread, found)

    def stopped(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(str(untrained_bundle), two_people, per_track=4, workers=2, progress=stopped)
    assert not ray.is_initialized(), "Ray ends with the evaluation that it was started for"


@pytest.mark.system
def test_two_nodes_find_what_one_finds(
    found: Evaluated, untrained_bundle: Path, two_people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    several_tasks(monkeypatch)
    # A node whose process starts late would find all measured by the other's.
    monkeypatch.setattr(ray.data.DataContext.get_current(), "wait_for_min_actors_s", 240)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    here = str(Path(__file__).resolve().parents[3])
    with patient():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "env_vars": {"PYTHONPATH": here}})
    nodes: set[str] = set()

    def told(done: int, total: int) -> None:
        actors = ray._private.state.actors().values()
        nodes.update(each["Address"]["NodeID"] for each in actors if "PairMeasurer" in each["ActorClassName"])

    try:
        with patient():
            cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": here})
        spread = evaluated(
            str(untrained_bundle),
            two_people,
            per_track=4,
            stepped=1,
            address=cluster.address,
            workers=2,
            progress=told,
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(nodes - {""}) == 2, "each node has a process that measures"
    check_alike(spread, found)
