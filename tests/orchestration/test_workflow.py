"""A workflow with a sweep of two trainings, run, run again, changed, and begun again after a stop."""

import io
import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import mlflow
import pytest
import yaml
from support.synthetic_pairs import TINY

from icface.errors import IcfaceError
from orchestration import workflow as module
from orchestration.registry import promotion
from orchestration.registry import versions as registry
from orchestration.registry.gate import GateRule, Rule
from orchestration.registry.promotion import gate_score
from orchestration.terminal import Reporter
from orchestration.tracking.run_logger import experiment_id, use_tracking
from orchestration.workflow import plan, run
from orchestration.workflow_file import Trial, Workflow
from orchestration.workflow_state import State

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module", autouse=True)
def versions_alone():
    """Six steps teach nothing, so copying the source is better: here the gate compares the versions alone."""
    patch = pytest.MonkeyPatch()
    patch.setattr(promotion, "GateRule", lambda: GateRule(rules=(Rule(metric="face_l1"),)))
    yield
    patch.undo()


def write(path: Path, values: dict) -> str:
    path.write_text(yaml.safe_dump(values))
    return str(path)


def runs(wanted: str) -> list:
    return mlflow.MlflowClient().search_runs([experiment_id()], wanted)


@pytest.fixture(scope="module")
def values(workplace: Path, sample_clips: dict[str, Path]) -> dict:
    clip = workplace / "clips/ann/v/1.mp4"
    clip.parent.mkdir(parents=True)
    shutil.copy(sample_clips["WolfgangLanger_Pexels.mp4"], clip)
    return {
        "model": "flow",
        "preprocess": {"source": "clips", "dataset": "data", "size": 32, "every": 2, "val_fraction": 0.0},
        "train": [
            {"name": "one", "preset": "small", "training": {**TINY, "seed": 1}},
            {"name": "two", "preset": "small", "training": {**TINY, "seed": 2}},
        ],
        "per_track": 2,
    }


def test_every_step_is_done_once_and_again_only_when_its_inputs_change(
    workplace: Path, values: dict, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    # Stopped when the first training is registered and that is not written down yet; the second never begins.
    keep = State.keep

    def stop_before(self, step, *result):
        if step == "train one":
            raise KeyboardInterrupt
        keep(self, step, *result)

    monkeypatch.setattr(State, "keep", stop_before)
    path = write(workplace / "flow.yaml", values)
    with pytest.raises(KeyboardInterrupt):
        run(path)
    assert [item.number for item in registry.versions("flow")] == [1]
    (sweep,) = runs("attributes.run_name LIKE 'flow:%'")
    assert sweep.info.status == "KILLED"
    monkeypatch.undo()

    before = (workplace / "flow.state.json").read_bytes()
    planned = dict(plan(path))
    assert planned["preprocess"] == module.SKIPPED
    assert planned["train one"].startswith("to do: 6 steps of preset small, 1 worker"), planned
    assert planned["promote"] == "to do"
    assert (workplace / "flow.state.json").read_bytes() == before, "a plan writes nothing"

    told = []
    first = run(path, lambda step, words: told.append((step, words)))
    assert first.versions == {"one": 1, "two": 2}, "what was registered is not registered again"
    assert first.done == ("train one", "train two", "evaluate one", "evaluate two", "compare", "promote")
    parts = runs(f"tags.mlflow.parentRunId = '{sweep.info.run_id}'")
    assert sorted(part.info.run_name.split("-")[0] for part in parts) == ["one", "two"]
    assert runs("attributes.run_name LIKE 'flow:%'")[0].info.status == "FINISHED"
    scores = {item.number: gate_score(item.evaluation["metrics"])[1] for item in registry.versions("flow")}
    assert first.versions[first.best] == min(scores, key=scores.__getitem__)
    champion = next(item for item in registry.versions("flow") if "champion" in item.aliases)
    assert champion.number == first.versions[first.best]
    assert "models:/flow/1" in (workplace / "comparison.html").read_text()

    again = run(path, lambda step, words: told.append((step, words)))
    assert (again.done, again.versions) == ((), first.versions)
    assert ("train one", "nothing has changed: skipped") in told

    assert {words for _, words in plan(path)} == {module.SKIPPED}

    # From another folder, with its own default store: the same paths, and the store that has the results.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    told.clear()
    far = run(str(workplace / "flow.yaml"), lambda step, words: told.append((step, words)))
    assert (far.done, far.versions) == ((), first.versions)
    assert told[0] == ("tracking", f"sqlite:///{workplace}/mlflow.db, which has the results of this file")
    assert not list(elsewhere.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/other.db")
    with pytest.raises(IcfaceError, match=r"export MLFLOW_TRACKING_URI=sqlite:///.*/mlflow.db, or train all again"):
        run(str(workplace / "flow.yaml"), again_from="evaluate")
    assert not list(elsewhere.iterdir())
    monkeypatch.undo()
    use_tracking()

    (workplace / "comparison.html").unlink()
    assert run(path).done == ("compare",), "what a step made is gone"
    assert run(path, again_from="compare").done == ("compare", "promote")

    changed = json.loads(json.dumps(values))
    changed["train"][1]["training"]["seed"] = 3
    shown = io.StringIO()
    third = run(write(workplace / "flow.yaml", changed), reporter=Reporter(shown))
    steps = {line["name"] for line in map(json.loads, shown.getvalue().splitlines()) if line["event"] == "progress"}
    assert {"train two", "evaluate two"} <= steps, "each step shows its own progress"
    assert third.versions == {"one": 1, "two": 3}
    assert third.done[:2] == ("train two", "evaluate two")
    assert "train one" not in third.done
    assert len(runs(f"tags.mlflow.parentRunId = '{sweep.info.run_id}'")) == 3

    mlflow.MlflowClient().delete_model_version("flow", "1")
    planned = dict(plan(path, again_from="evaluate"))
    assert planned["train one"].startswith("to do: 6 steps"), "its version is gone"
    assert planned["train two"] == module.SKIPPED
    assert planned["evaluate two"] == planned["compare"] == "to do"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "flow.yaml: unknown field colour; known here are model, "),
        ({"preprocess": {"source": "clips", "dataset": "data", "sise": 1}}, "unknown field preprocess.sise"),
        ({"train": []}, "one or more entries"),
        ({"train": [{"name": "one", "preset": "huge"}]}, "unknown preset 'huge'"),
        ({"preprocess": {"source": "clips"}}, "preprocess.dataset is missing"),
        ({"preprocess": {"source": "clips", "dataset": "data", "size": "x"}}, "preprocess.size must be a whole number"),
        ({"train": [{"preset": "small"}]}, r"train\[0\].name is missing"),
        ({"gpu": 1}, "gpu must be true or false, not 1"),
        ({"train": [{"name": "one", "training": {"sise": 1}}]}, "flow.yaml: train one: unknown field sise"),
        ({"train": [{"name": "a b"}]}, "the name 'a b' may have"),
        ({"workers": 3}, "train one: data.batch_size 4 cannot be shared evenly"),
        ({"per_track": 0}, "per_track must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_understood_is_named(values: dict, tmp_path: Path, change: dict, said: str):
    with pytest.raises(IcfaceError, match=said):
        Workflow.from_yaml(write(tmp_path / "flow.yaml", values | change))


def test_a_job_joins_its_own_cluster(values: dict, tmp_path: Path):
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(values))
    found = Workflow.from_yaml(str(tmp_path / "flow.yaml")).joining("auto")
    assert (found.address, found.preprocess.running.address) == ("auto", "auto")
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(values | {"address": "10.0.0.1"}))
    assert Workflow.from_yaml(str(tmp_path / "flow.yaml")).joining("auto").address == "10.0.0.1"


def test_the_documented_workflow_is_one(tmp_path: Path):
    page = (Path(__file__).resolve().parents[2] / "docs/workflow.md").read_text()
    (tmp_path / "flow.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    found = Workflow.from_yaml(str(tmp_path / "flow.yaml"))
    assert [trial.name for trial in found.train] == ["plain", "slower"]


def test_the_page_lists_every_field():
    page = (Path(__file__).resolve().parents[2] / "docs/workflow.md").read_text()
    for item in fields(Workflow):
        assert f"\n| `{item.name}` |" in page
    for item in fields(Trial):
        assert f"\n| `train: {item.name}` |" in page
