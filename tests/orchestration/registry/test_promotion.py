"""The gate before an alias, on versions that were really evaluated."""

import json
import re
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.registry import evaluation_store as store
from orchestration.registry import promotion
from orchestration.registry import versions as registry
from orchestration.registry.comparison import compare
from orchestration.registry.evaluation import evaluate_model
from orchestration.registry.promotion import promote
from orchestration.registry.references import resolve
from orchestration.tracking.run_logger import experiment_id

LONELY = "held_out, 2 pairs of 1 person, so without intervals"
"""Of the two sample clips one is long enough for held-out frames."""


def register(bundle: Path, name: str) -> str:
    run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
    return f"models:/{name}/{registry.register(run, bundle, name)}"


def tag(name: str, number: int, key: str) -> str:
    return mlflow.MlflowClient().get_model_version(name, str(number)).tags[key]


@pytest.fixture(scope="module")
def good_and_bad(workplace: Path, untrained_bundle: Path, other_bundle: Path, small_dataset: Path) -> str:
    """A registered model: version 1 copies its source, version 2 moves it at random; both evaluated on equal pairs."""
    for bundle in (untrained_bundle, other_bundle):
        evaluate_model(register(bundle, "gate"), str(small_dataset), groups=("held_out",), per_track=2)
    return "gate"


def test_a_version_without_an_evaluation_is_refused(workplace: Path, untrained_bundle: Path, small_dataset: Path):
    model = register(untrained_bundle, "plain")
    with pytest.raises(IcfaceError, match=f"is not evaluated: icface evaluate {model} DATASET"):
        promote("plain", 1, "champion")
    assert registry.versions("plain")[0].aliases == ()
    with pytest.raises(IcfaceError, match="has no version 7; it has 1"):
        promote("plain", 7, "champion")
    report = evaluate_model(model, str(small_dataset), groups=("held_out",), per_track=2)
    reason = promote("plain", 1, "champion")
    assert reason.startswith(
        "evaluated, and nothing had the alias (held_out, 2 pairs of 1 person, so without intervals): face_l1 0."
    )
    assert "of copying the source: same" in reason
    assert promote("plain", 1, "champion") == "evaluated, and it had the alias already"
    with pytest.raises(IcfaceError, match="plain has no alias 'best', its aliases are: champion"):
        resolve("models:/plain@best")
    found = registry.versions("plain")[0]
    assert found.aliases == ("champion",)
    assert found.evaluation["metrics"]["held_out/face_l1"] == pytest.approx(report.metrics()["held_out/face_l1"], 1e-4)
    assert found.evaluation["pairs"]["dataset"] == str(small_dataset)
    assert resolve("models:/plain@champion").version == 1
    run = mlflow.MlflowClient().get_run(found.run_id)
    assert run.data.metrics["eval/held_out/face_l1"] == report.metrics()["held_out/face_l1"]
    logged = mlflow.MlflowClient().get_logged_model(tag("plain", 1, "icface.logged_model"))
    linked = {item.key: item.value for item in logged.metrics}
    assert linked["eval/held_out/face_l1"] == report.metrics()["held_out/face_l1"]
    copied = report.groups["held_out"].scores["copy_source"]["face_l1"]
    assert run.data.metrics["eval/copy_source/held_out/face_l1"] == copied
    assert found.evaluation["copy_source"]["held_out/face_l1"] == pytest.approx(copied, abs=1e-6)
    assert found.evaluation["counts"] == {"held_out": [2, 1]}
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(found.run_id, "evaluation")}
    assert {f"evaluation/held_out-{name}.png" for name in ("sample", "worst", "best")} <= files
    assert {"evaluation/evaluation.html", "evaluation/pairs.parquet", "evaluation/scores.json"} <= files


def test_a_worse_version_is_refused_unless_forced_and_why_is_kept(good_and_bad: str):
    promote(good_and_bad, 1, "best")
    reasons = re.escape(f"version 2 is worse than version 1 and than copying the source ({LONELY}): face_l1 0.")
    with pytest.raises(IcfaceError, match=reasons):
        promote(good_and_bad, 2, "best")
    assert resolve(f"models:/{good_and_bad}@best").version == 1
    reason = promote(good_and_bad, 2, "best", force=True)
    assert reason.startswith("forced: gate version 2 is worse")
    assert "face_l1 0." in reason and "detected 0.0000" in reason, "the scores that got worse are named"
    assert resolve(f"models:/{good_and_bad}@best").version == 2
    assert tag(good_and_bad, 2, registry.REASON_TAG) == f"best: {reason}"
    assert "of version 2" in promote(good_and_bad, 1, "best"), "the better one gets it back"


@pytest.mark.parametrize("champion", ["on other pairs", "not evaluated"])
def test_both_are_evaluated_anew_where_the_evaluations_cannot_be_compared(
    workplace: Path,
    untrained_bundle: Path,
    other_bundle: Path,
    small_dataset: Path,
    champion: str,
    monkeypatch: pytest.MonkeyPatch,
):
    name = champion.replace(" ", "-")
    first, second = register(untrained_bundle, name), register(other_bundle, name)
    evaluate_model(first, str(small_dataset), groups=("held_out",), per_track=1)
    promote(name, 1, "champion")
    if champion == "not evaluated":
        mlflow.MlflowClient().delete_model_version_tag(name, "1", registry.EVALUATION_TAG)
    evaluate_model(second, str(small_dataset), groups=("held_out",), per_track=2)
    told = set()
    devices = []
    alike = promotion.evaluate_alike
    monkeypatch.setattr(promotion, "evaluate_alike", lambda *given: devices.append(given[-1]) or alike(*given))
    with pytest.raises(IcfaceError, match=r"is worse than version 1.*both evaluated again"):
        # `cpu:0` stands for a GPU, see the test of comparisons.
        promote(name, 2, "champion", progress=lambda label, done, total: told.add(label), device="cpu:0")
    assert devices == ["cpu:0"]
    assert told == {first, second}
    both = registry.versions(name)
    stored = [item.evaluation and item.evaluation["pairs"]["per_track"] for item in both]
    assert stored == [2, 1 if champion == "on other pairs" else None], "what was stored stays"


def test_two_versions_of_one_run_are_not_held_against_themselves(
    workplace: Path, untrained_bundle: Path, other_bundle: Path, small_dataset: Path, tmp_path: Path
):
    """A run that was made longer has two, and keeps the evaluation of the one that was evaluated last."""
    longer = load_bundle(other_bundle)
    longer.config = replace(longer.config, training={**longer.config.training, "steps": 9})
    save_bundle(longer, tmp_path / "longer")
    run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
    for bundle in (untrained_bundle, tmp_path / "longer"):
        model = f"models:/twice/{registry.register(run, bundle, 'twice')}"
        evaluate_model(model, str(small_dataset), groups=("held_out",), per_track=1)
        if model.endswith("1"):
            promote("twice", 1, "champion")
    with pytest.raises(IcfaceError, match=r"is worse than version 1.*both evaluated again"):
        promote("twice", 2, "champion")
    found = compare(["models:/twice/1", "models:/twice/2"])
    first, second = (each.report.metrics()["held_out/face_l1"] for each in found.compared_models)
    assert found.evaluated and first < second


def test_what_cannot_be_compared_is_refused_with_what_to_do(
    workplace: Path, untrained_bundle: Path, small_dataset: Path, capsys: pytest.CaptureFixture[str]
):
    for _ in range(2):
        model = register(untrained_bundle, "apart")
        report = evaluate_model(model, str(small_dataset), groups=("held_out",), per_track=1)
    promote("apart", 1, "champion")
    values = json.loads(json.dumps(report.to_json())) | {"pairs_hash": "others"}
    store.note_evaluation("apart", 2, type(report).from_json(values))
    with pytest.raises(IcfaceError, match="name the data set to evaluate on with --dataset"):
        promote("apart", 2, "champion")
    store.note_evaluation("apart", 2, type(report).from_json(values), {"dataset": "gone", "groups": ["val"]})
    with pytest.raises(IcfaceError, match="cannot be evaluated again: gone is not a data set"):
        promote("apart", 2, "champion")
    capsys.readouterr()
    assert main(["models", "promote", "apart", "2", "--dataset", str(small_dataset)]) == 0
    said = capsys.readouterr().out
    assert "both evaluated again" in said
    assert '"licence": "test licence"' in said
    assert resolve("models:/apart@champion").version == 2
