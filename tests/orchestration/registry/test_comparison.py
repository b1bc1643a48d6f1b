from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from orchestration.registry import runs
from orchestration.registry import versions as registry
from orchestration.registry.comparison import compare
from orchestration.registry.evaluation import evaluate_model
from orchestration.tracking.run_logger import experiment_id
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs


def test_scores_faces_and_configs_stand_side_by_side(
    untrained_bundle: Path, other_bundle: Path, small_dataset: Path, workplace: Path
):
    told = []
    found = compare(
        [str(untrained_bundle), str(other_bundle)],
        str(small_dataset),
        per_track=3,
        progress=lambda *arguments: told.append(arguments),
    )
    assert found.evaluated
    assert {label for label, *_ in told} == {str(untrained_bundle), str(other_bundle)}
    heading, *rows = found.metrics()
    assert heading[:5] == ("metric", "best", str(untrained_bundle), str(other_bundle), "copying the source")
    first, second = (compared.report.metrics() for compared in found.compared_models)
    row = next(row for row in rows if row[0] == "held_out/face_l1")
    assert row[1] == "↓"
    assert float(row[2]) == pytest.approx(first["held_out/face_l1"], abs=1e-3)
    assert float(row[3]) == pytest.approx(second["held_out/face_l1"], abs=1e-3)
    # The untrained model copies its source; faces moved at random are farther off.
    assert row[5].endswith("worse, no interval"), "of one person"
    assert row[5].startswith(f"{second['held_out/face_l1'] - first['held_out/face_l1']:.3f} ")
    assert found.counts().startswith("held_out: 3 pairs of 1 person, so without intervals")
    assert found.configs()[1:] == [("licence", "test licence", "non-commercial")]
    assert found.samples is not None
    found.write(workplace / "comparison.html")
    page = (workplace / "comparison.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "held_out/face_l1" in page


def test_the_pictures_follow_baselines_as_the_scores_do(
    other_bundle: Path, small_dataset: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load_bundle(other_bundle)
    monkeypatch.chdir(workplace)
    save_bundle(model, "first")
    sheets = []
    for baselines in (False, True):
        # The same weights and the same captions: only what the second model is asked for differs.
        model.config = replace(model.config, baselines=baselines)
        save_bundle(model, "second")
        sheets.append(compare(["first", "second"], str(small_dataset), per_track=1, tracks=2).samples)
    assert (sheets[0] != sheets[1]).any()


def test_stored_evaluations_are_used_where_they_are_of_the_same_pairs(
    untrained_bundle: Path, other_bundle: Path, small_dataset: Path, workplace: Path
):
    models = []
    for bundle in (untrained_bundle, other_bundle):
        run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
        models.append(f"models:/compared/{registry.register(run, bundle, 'compared')}")
    with pytest.raises(IcfaceError, match="--dataset"):
        compare(models)
    again = compare(models, str(small_dataset), per_track=2)
    assert again.evaluated
    stored = compare(models)
    assert not stored.evaluated
    assert stored.metrics() == again.metrics()
    assert stored.samples is not None
    assert (stored.samples == again.samples).all(), "the same faces, of the data set that the evaluation was on"
    assert not compare(models, str(small_dataset), per_track=2).evaluated
    address = stored.mlflow_page()
    assert address is not None and "/#/compare-model-versions?name=%22compared%22&runs=" in address
    others = compare(models, str(small_dataset), per_track=1)
    assert others.evaluated, "these are other pairs"
    assert others.mlflow_page() is None, "MLflow keeps the scores of the first ones"


def test_runs_that_are_not_registered_are_compared_by_their_stored_evaluations(
    untrained_bundle: Path, other_bundle: Path, small_dataset: Path, workplace: Path
):
    models = []
    for bundle in (untrained_bundle, other_bundle):
        run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
        runs.log_bundle(run, bundle)
        models.append(f"runs:/{run}/bundle")
    evaluate_model(models[0], str(small_dataset), per_track=2, tracks=1)
    made = compare(models)
    assert made.evaluated, "on the pairs of the one that has an evaluation"
    evaluate_model(models[1], str(small_dataset), per_track=2, tracks=1)
    found = compare(models)
    assert not found.evaluated
    assert found.metrics() == made.metrics()


def test_where_evaluations_differ_both_are_made_anew_on_the_pairs_of_the_first(
    untrained_bundle: Path, other_bundle: Path, small_dataset: Path, workplace: Path
):
    models = []
    for bundle, frames in ((untrained_bundle, 2), (other_bundle, 3)):
        run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
        models.append(f"models:/differing/{registry.register(run, bundle, 'differing')}")
        evaluate_model(models[-1], str(small_dataset), per_track=frames, tracks=1)
    found = compare(models)
    assert found.evaluated
    of_two = EvaluationPairs(Dataset.open(str(small_dataset)), per_track=2, tracks=1).hash
    assert [compared.report.pairs_hash for compared in found.compared_models] == [of_two] * 2


def test_new_evaluations_run_on_the_device_that_is_asked_for(
    untrained_bundle: Path, other_bundle: Path, small_dataset: Path, workplace: Path
):
    """`cpu:0` stands for a GPU: it is not called `cpu`, and there is one on every machine."""
    models = [str(untrained_bundle), str(other_bundle)]
    found = [compare(models, str(small_dataset), per_track=1, tracks=1, device=device) for device in ("cpu", "cpu:0")]
    names = [{compared.report.analyzer.split()[0] for compared in each.compared_models} for each in found]
    assert names == [{"mediapipe"}, {"mediapipe-torch"}]


def test_one_model_is_no_comparison(untrained_bundle: Path):
    with pytest.raises(IcfaceError, match="two or more"):
        compare([str(untrained_bundle)])
    with pytest.raises(IcfaceError, match="two or more"):
        compare([str(untrained_bundle)] * 2)


def test_models_are_named_that_were_trained_on_a_data_set(untrained_bundle: Path, small_dataset: Path, workplace: Path):
    client = mlflow.MlflowClient()
    tagged = client.create_run(experiment_id(), tags={"icface.dataset": str(small_dataset)}).info.run_id
    hashed = client.create_run(experiment_id(), tags={"icface.dataset_hash": "abc"}).info.run_id
    neither = client.create_run(experiment_id(), tags={"icface.dataset": str(workplace)}).info.run_id
    numbers = [registry.register(run, untrained_bundle, "lineage") for run in (tagged, hashed, neither)]
    found = registry.trained_on(str(small_dataset), "abc")
    assert sorted(item.number for item in found if item.name == "lineage") == numbers[:2]
