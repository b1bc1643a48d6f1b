"""From a data set to a registered model with real Ray Train and MLflow, and what a second start does."""

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch

import orchestration
from benchmarks.process_tree import descendants
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.images import decode_image, encode_jpeg
from icface.training.checkpoint import load_state
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.config import TrainJob
from orchestration.registry import runs
from orchestration.registry import versions as registry
from orchestration.registry.references import resolve
from orchestration.registry.run_models import bundle_steps
from orchestration.train.driver import train
from orchestration.train.progress import TrainingProgress
from orchestration.train.validation_record import ValidationRecord
from pipelines.cluster import connect
from pipelines.storage import Folder


@pytest.fixture(scope="module", autouse=True)
def ray_here(workplace: Path):
    with connect("local", 6, packages=(orchestration,)):  # two that train, Ray Data's two readers, and what they need
        yield


@pytest.fixture(scope="module")
def job(small_dataset: Path, tiny) -> TrainJob:
    return TrainJob(dataset=str(small_dataset), training=tiny, workers=2, name="first", register="face")


@pytest.fixture(scope="module")
def told() -> list[TrainingProgress]:
    return []


@pytest.fixture(scope="module")
def trained(job: TrainJob, told: list[TrainingProgress]):
    return train(job, told.append)


def test_the_run_is_recorded(trained, job: TrainJob, told, workplace: Path):
    run = mlflow.MlflowClient().get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["data.batch_size"] == "4"
    assert run.data.params["model.size"] == "32"
    assert run.data.tags["icface.workers"] == "2"
    assert run.data.metrics["train/generator/reconstruction"] > 0
    assert run.data.metrics["train/images_per_second"] > 0
    assert run.data.metrics["train/tflops"] > 0
    assert 0 < run.data.metrics["train/generator/learning_rate"] < job.training.optimiser.generator_lr
    assert run.data.metrics["system/cpu_utilization_percentage"] >= 0
    assert run.data.tags["mlflow.note.content"].startswith("Preset custom, 32 px, 6 steps. Not evaluated yet.")
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(trained.run_id, "bundle")}
    assert names == {"bundle/README.md", "bundle/config.json", "bundle/model.safetensors"}
    pictures = {
        re.split(r"[%+]", item.path)[0] for item in mlflow.MlflowClient().list_artifacts(trained.run_id, "images")
    }
    assert pictures == {"images/samples", "images/single edits"}
    assert run.inputs.dataset_inputs[0].dataset.name == "data"
    last = [progress for progress in told if progress.step is not None][-1]
    assert (last.step, last.checkpoint) == (6, 6)


def test_the_runs_folder_holds_whole_checkpoints_and_the_bundle(trained, workplace: Path):
    folder = workplace / "runs" / "first"
    checkpoints = sorted(folder.glob("checkpoint_0*"))
    assert [path.name for path in checkpoints] == ["checkpoint_00000004", "checkpoint_00000006"]
    assert [load_state(path)["steps_done"] for path in checkpoints] == [4, 6]
    model = load_bundle(trained.bundle)
    assert model.config.licence == "test licence"
    assert model.config.training["identities"] == 2
    assert not model.schema.attributes[model.schema.index("AU14")].trained


def until_no_evaluator() -> None:
    """An evaluator that is there when Ray is shut down would hold it up."""
    deadline = time.monotonic() + 300
    while any("Evaluator" in name for name in descendants(os.getpid()).values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("form", ["models:/face/1", "runs:/{run}/bundle", "{bundle}"])
def test_a_model_is_found_under_every_name(trained, form: str):
    found = resolve(form.format(run=trained.run_id, bundle=trained.bundle))
    one, other = load_bundle(found.folder).state_dict(), load_bundle(trained.bundle).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("form", ["models:/face/99", "models:/nobody@champion", "runs:/0123/bundle", "models:/face"])
def test_a_model_that_is_not_there(trained, form: str):
    with pytest.raises(IcfaceError, match="is not in sqlite"):
        resolve(form)


def test_an_existing_name_is_refused(trained, job: TrainJob):
    with pytest.raises(IcfaceError, match="the run first exists"):
        train(job)


def test_resume_refuses_other_options(trained, job: TrainJob):
    with pytest.raises(IcfaceError, match=r"optimiser\.generator_lr 0\.001 -> 0.5"):
        train(
            replace(
                job,
                resume=True,
                training=job.training.merge({"optimiser": {"generator_lr": 0.5}}),
            )
        )
    with pytest.raises(IcfaceError, match="no run other"):
        train(replace(job, name="other", resume=True))


def test_stop_and_resume_equal_an_undisturbed_training(trained, job: TrainJob, workplace: Path):
    asked = []

    def stop_early(progress):
        if (progress.step or 0) >= 2 and not asked:
            asked.append(1)
            raise KeyboardInterrupt

    stopped = train(replace(job, name="stopped", register=None), stop_early)
    assert asked
    if stopped.bundle is None:  # it may have been over before the wish arrived
        assert list((workplace / "runs/stopped").glob("checkpoint_0*/training.pt"))
        assert mlflow.MlflowClient().get_run(stopped.run_id).info.status == "KILLED"
        # What touches no weight may change.
        changed = job.training.merge({"log_every": 3, "images_every": 5, "checkpoint_every": 3})
        again = train(replace(job, name="stopped", register=None, resume=True, training=changed))
        assert again.run_id == stopped.run_id
        stopped = again
    assert Folder.at(stopped.bundle).exists("config.json")
    one, other = load_bundle(stopped.bundle).state_dict(), load_bundle(trained.bundle).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert mlflow.MlflowClient().get_run(stopped.run_id).info.status == "FINISHED"


def test_checkpoints_of_one_run_are_models(trained, job: TrainJob, workplace: Path, capsys: pytest.CaptureFixture[str]):
    earlier, last = (load_bundle(resolve(f"runs/first@{step}").folder) for step in (4, 6))
    assert (earlier.config.training["steps"], last.config.training["steps"]) == (4, 6)
    final = load_bundle(trained.bundle).state_dict()
    assert all(torch.equal(last.state_dict()[name], final[name]) for name in final)
    assert any((earlier.state_dict()[name] != final[name]).any() for name in final)
    assert resolve("runs/first@4").pinned == f"{workplace / 'runs/first'}@4"
    for wrong, told in (("runs/first@5", r"no checkpoint of step 5; it has 4, 6"), ("runs/nobody@4", "no run in")):
        with pytest.raises(IcfaceError, match=told):
            resolve(wrong)
    words = ["models", "compare", "runs/first@4", "runs/first@6", "--dataset", job.dataset, "--per-track", "1"]
    assert main(words) == 0
    assert "training.steps" in capsys.readouterr().out
    page = (workplace / "comparison.html").read_text()
    assert "runs/first@4 against runs/first@6" in page


@pytest.mark.system
def test_evaluations_beside_a_training_change_no_weight(trained, job: TrainJob, workplace: Path):
    # A wish to stop that arrives after the last step leaves the last evaluation out: then it is tried again.
    for attempt in range(5):
        watched = replace(
            job, name=f"watched{attempt}", register=f"watched{attempt}", evaluate_every=2, keep="best:face_l1"
        )
        asked = []

        def stop_early(progress: TrainingProgress, asked: list = asked) -> None:
            if progress.starts and not asked:  # as soon as the ranks are there
                asked.append(1)
                raise KeyboardInterrupt

        result = train(watched, stop_early)
        until_no_evaluator()
        if result.bundle is None:
            break
    assert asked and result.bundle is None
    result = train(replace(watched, resume=True))
    until_no_evaluator()
    one, other = load_bundle(result.bundle).state_dict(), load_bundle(trained.bundle).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)
    folder = Folder.at(str(workplace / "runs" / watched.name))
    record = ValidationRecord.read(folder)
    steps = [each.step for each in record.evaluations]
    assert set(steps) <= {2, 4, 6} and steps[-1] == 6, "the last model is always evaluated"
    assert record.pairs and all(pair.startswith("held_out:") for pair in record.pairs)
    assert bundle_steps(folder) == [record.kept]
    assert result.kept is not None and result.kept.step == record.kept
    assert load_bundle(result.kept.bundle).config.training["steps"] == record.kept
    best = min(each.scores["face_l1"] for each in record.evaluations)
    assert result.kept.scores["face_l1"] == best
    client = mlflow.MlflowClient()
    curve = client.get_metric_history(result.run_id, "validation/held_out/face_l1")
    assert {item.step: item.value for item in curve} == {
        each.step: pytest.approx(each.scores["face_l1"]) for each in record.evaluations
    }
    version = client.get_model_version(watched.name, "1")
    assert version.tags["icface.steps"] == str(record.kept)
    logged = client.get_logged_model(version.tags["icface.logged_model"])
    assert logged.name == f"{watched.name}, step {record.kept}"
    (found,) = [item for item in logged.metrics if item.key == "validation/kept/face_l1"]
    assert found.step == record.kept
    assert found.value == pytest.approx(best)
    again = train(replace(watched, resume=True))
    assert (again.version, again.kept) == (1, result.kept), "nothing is left to do"


@pytest.mark.system
def test_a_training_that_gets_no_better_ends_early(
    job: TrainJob, other_bundle: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
):
    # The whole training is the discriminator's warm-up: every model is the same, so none is better than the first.
    rarely = {"log_every": 100, "images_every": 10**6, "checkpoint_every": 10**6, "validate_every": 10**6}
    config = job.training.merge({"steps": 10**5, "optimiser": {"warmup": 1.0}, **rarely})
    options = replace(
        job,
        name="early",
        workers=1,
        training=config,
        register=None,
        init_from=str(other_bundle),
        evaluate_every=2,
        keep="best:face_l1",
        patience=1,
    )
    result = train(options)
    until_no_evaluator()
    assert result.bundle is not None and result.kept is not None
    record = ValidationRecord.read(Folder.at(str(workplace / "runs/early")))
    first, second = record.evaluations
    assert bundle_steps(Folder.at(str(workplace / "runs/early"))) == [record.kept]
    assert (first.step, first.scores) == (record.kept, second.scores)
    assert second.step <= result.steps < 10**5
    assert load_bundle(result.bundle).config.training["steps"] == result.steps
    run = mlflow.MlflowClient().get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["icface.ended_early"].startswith(f"after {result.steps} steps")
    assert f"{result.steps} steps" in run.data.tags["mlflow.note.content"]
    names = [item.name for item in mlflow.search_logged_models([run.info.experiment_id], output_format="list")]
    assert f"early, step {record.kept}" in names
    assert main(["train", "--resume", "--name", "early"]) == 0, "nothing is left to do"
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["ended_early"].startswith(f"after {result.steps} of 100000 steps")
    assert f"step {record.kept}, face_l1 " in told["best"]
    assert told["next"].startswith(f"icface evaluate {result.kept.bundle}")


@pytest.mark.system
def test_two_data_sets_train_one_model_and_are_both_recorded(
    job: TrainJob, synthetic_dataset: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
):
    mixed = replace(
        job,
        name="mixed",
        register="mixed",
        mixed_with=(f"{synthetic_dataset}:0.5",),
        training=job.training.merge({"steps": 4}),
    )
    short = train(mixed)
    with pytest.raises(IcfaceError, match="the data set's contents"):
        train(replace(mixed, resume=True, mixed_with=(f"{synthetic_dataset}:0.25",)))
    assert main(["train", "--resume", "--name", "mixed", "--steps", str(job.training.steps)]) == 0
    capsys.readouterr()
    config = load_bundle(short.bundle).config
    assert [entry["share"] for entry in config.training["datasets"]] == [0.5, 0.5]
    assert config.training["identities"] == 4
    card = (Path(short.bundle) / "README.md").read_text()
    assert "licence test licence" in card
    assert "licence CC0-1.0" in card
    record = json.loads((workplace / "runs/mixed/run.json").read_text())
    assert record["job"]["mixed_with"] == [f"{synthetic_dataset}:0.5"]
    assert config.training["steps"] == job.training.steps
    run = mlflow.MlflowClient().get_run(short.run_id)
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {Path(job.dataset).name, "synthetic"}
    assert main(["models", "show", "mixed", "1"]) == 0
    assert f"{synthetic_dataset}, 50% of the pairs, CC0-1.0" in capsys.readouterr().out
    assert ("mixed", 1) in {(item.name, item.number) for item in registry.trained_on(str(synthetic_dataset), "")}
    dimple = config.schema.attributes[config.schema.index("AU14")]
    assert dimple.trained
    assert dimple.measured_share == 0.5


def test_a_run_is_made_longer_by_its_name_alone(job: TrainJob, workplace: Path, capsys: pytest.CaptureFixture[str]):
    short = train(replace(job, name="longer", register="longer", training=job.training.merge({"steps": 4})))
    assert load_bundle(short.bundle).config.training["steps"] == 4
    assert main(["train", "--resume", "--name", "longer", "--steps", "6"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["mlflow_run"], last["steps"], last["registered"]) == (short.run_id, 6, "models:/longer/2")
    assert "time_taken" in last and "A/reconstruction" in last["last_losses"]
    assert last["next"] == f"icface evaluate models:/longer/2 {job.dataset}"
    assert last["mlflow_page"].endswith(f"/runs/{short.run_id}?workflowType=machine_learning")
    assert load_bundle(short.bundle).config.training["steps"] == 6
    run = mlflow.MlflowClient().get_run(short.run_id)
    assert run.data.tags["icface.changed_by_resume"] == "steps 4 -> 6"
    assert run.data.params.items() >= {"preset": "custom", "workers": "2", "dataset": job.dataset}.items()
    assert run.data.tags["mlflow.user"] == runs.user()
    record = json.loads((workplace / "runs/longer/run.json").read_text())
    assert (record["config"]["steps"], record["job"]["workers"], record["job"]["register"]) == (6, 2, "longer")
    assert main(["train", "--resume", "--name", "longer"]) == 0, "nothing is left to do"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["registered"] == "models:/longer/2"
    assert main(["train", "--resume", "--name", "longer", "--steps", "5"]) == 1
    assert "can only be made longer" in capsys.readouterr().err


def test_the_registered_model_answers(trained, sample_clips):
    model = mlflow.pyfunc.load_model("models:/face/1")
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    portrait = encode_jpeg(frames[0])
    table = pd.DataFrame({"portrait": [portrait, portrait], "AU12": [0.0, 5.0], "pose_yaw": [0.0, 0.5]})
    answer = model.predict(table)
    pictures = [decode_image(data) for data in answer["png"]]
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 2
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(IcfaceError, match="AU14 cannot be set"):
        model.predict(pd.DataFrame({"portrait": [portrait], "AU14": [1.0]}))


def test_ray_data_brings_the_same_batches(trained, job: TrainJob):
    fed = train(replace(job, name="fed", register=None, ingest="ray"))
    one, other = load_bundle(fed.bundle).state_dict(), load_bundle(trained.bundle).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_loss_that_is_not_finite_ends_with_one_line(job: TrainJob, workplace: Path):
    config = job.training.merge({"optimiser": {"generator_lr": 1e30, "discriminator_lr": 1e30}})
    with pytest.raises(IcfaceError, match="is not finite"):
        train(replace(job, name="broken", training=config, register=None))
    assert list((workplace / "runs/broken").glob("non-finite-batch-*.pt"))
    assert not (workplace / "runs/broken/bundle").exists()


def test_a_training_begins_with_another_model(job: TrainJob, other_bundle: Path):
    # The whole training is the discriminator's warm-up: the generators must come out as they went in.
    config = job.training.merge({"optimiser": {"warmup": 1.0}})
    result = train(replace(job, name="tuned", training=config, register=None, init_from=str(other_bundle)))
    start, tuned = load_bundle(other_bundle), load_bundle(result.bundle)
    start.silence_untrained()
    assert all(torch.equal(tensor, tuned.state_dict()[name]) for name, tensor in start.state_dict().items())
    assert tuned.config.licence == start.config.licence == "non-commercial"
    run = mlflow.MlflowClient().get_run(result.run_id)
    assert run.data.params["init_from"] == str(other_bundle)
    assert run.data.tags["icface.init_from_changes"] == "none"
    assert run.data.metrics["train/discriminator/adversarial"] > 0
    assert "validation/neutraliser/units" in run.data.metrics
    with pytest.raises(IcfaceError, match=r"init_from .* -> models:/face/1"):
        train(replace(job, name="tuned", training=config, init_from="models:/face/1", resume=True))


def test_a_start_that_does_not_fit_is_refused(job: TrainJob, other_bundle: Path):
    wide = job.training.merge({"model": {"width": 16}})
    with pytest.raises(IcfaceError, match=r"train with --model\.width 8"):
        train(replace(job, name="wide", training=wide, init_from=str(other_bundle)))


def test_the_command_takes_the_starting_models_sizes(job: TrainJob, other_bundle: Path, monkeypatch):
    from orchestration.commands import train as command

    asked = []
    monkeypatch.setattr(command, "train", lambda options, reporter: asked.append(options))
    command.main([job.dataset, "--preset", "small", "--init-from", str(other_bundle), "--model.blocks", "3"])
    (options,) = asked
    assert (options.init_from, options.training.steps) == (str(other_bundle), 2000)
    assert (options.training.model.size, options.training.model.width, options.training.model.blocks) == (32, 8, 3)
