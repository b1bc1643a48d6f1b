"""The benchmark end to end, with methods whose scores are known."""

import csv
import json
from pathlib import Path

import pytest
from support.synthetic_people import build_people

from benchmarks.evaluation_pairs import write_pairs
from icface.errors import IcfaceError
from orchestration.benchmark import benchmark_model
from orchestration.commands.evaluate import main
from orchestration.registry.measurer import MeasurerChoice
from pipelines.dataset import Dataset
from pipelines.synthesis import benchmark


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory):
    """The benchmark with two of its people."""
    patch = pytest.MonkeyPatch()
    patch.setattr(benchmark, "PEOPLE", 2)
    url = str(tmp_path_factory.mktemp("benchmark") / "data")
    build_people(benchmark.benchmark_config(url, 64))
    yield url
    patch.undo()


def answered(url: str, folder: Path, column: str) -> dict[str, float]:
    """The headline of a method that answers every pair with one of its own pictures, `driving` or `source`."""
    write_pairs(Dataset.open(url), folder, per_track=50, tracks=None)
    with (folder / "pairs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "self"]
    with (folder / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "kind", "key"], *([row[column], "pair", row["key"]] for row in rows)])
    main([str(folder), url, "--predictions", "--benchmark", "synthetic", "--json", str(folder / "scores.json")])
    found: dict[str, float] = json.loads((folder / "scores.json").read_text())["benchmark"]["headline"]
    return found


def test_the_true_pictures_are_perfect(people: str, tmp_path: Path):
    found = answered(people, tmp_path, "driving")
    assert found["response"] == pytest.approx(1)
    assert found["leak"] == pytest.approx(0, abs=1e-6)
    assert found["pose"] == pytest.approx(0, abs=1e-6)
    assert found["face_l1"] == 0
    assert found["found"] == 1


def test_copying_the_source_moves_nothing(people: str, tmp_path: Path):
    found = answered(people, tmp_path, "source")
    assert found["response"] == pytest.approx(0, abs=0.05)
    assert found["pose"] > 8
    assert found["face_l1"] == pytest.approx(1)


def test_a_model_is_scored_and_another_data_set_refused(people: str, untrained_bundle: Path, small_dataset: Path):
    scores, report = benchmark_model(str(untrained_bundle), people, MeasurerChoice())
    assert scores.people == 2
    assert set(report.groups) == {"val"}
    with pytest.raises(IcfaceError, match="not the benchmark"):
        benchmark_model(str(untrained_bundle), str(small_dataset), MeasurerChoice())


def test_its_pairs_are_its_own():
    with pytest.raises(SystemExit) as ended:
        main(["m", "d", "--benchmark", "synthetic", "--per-track", "3"])
    assert ended.value.code == 2
