"""After `icface dataset forget`: which runs are to be trained again, and by which commands. Nothing is trained here."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch

from icface.bundle import ICface, load_bundle, save_bundle
from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.config import TrainJob
from orchestration.registry import versions as registry
from orchestration.train import driver
from orchestration.train.driver import train
from orchestration.train.launch import Launch
from orchestration.train.progress import OnProgress, TrainingProgress
from orchestration.train.retraining import affected
from orchestration.train.run_folder import BUNDLE
from pipelines.curation.forget import forget


@pytest.fixture
def data(small_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_dataset, tmp_path / "faces"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end at once, with the weights that they begin with."""

    def launch(ready: Launch, on_progress: OnProgress) -> TrainingProgress:
        torch.manual_seed(0)
        save_bundle(ICface(ready.bundle_config), ready.folder.path(BUNDLE))
        return TrainingProgress()

    monkeypatch.setattr(driver, "launch", launch)


def test_each_run_that_saw_them_has_a_command_that_makes_it_again(
    data: Path,
    small_dataset: Path,
    tiny,
    at_once,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    changed = tiny.merge({"data": {"flip": False, "baselines": True}, "seed": 7})
    first = TrainJob(
        dataset=str(data), training=changed, preset="small", workers=2, name="first", register="seen", storage="./kept"
    )
    train(first)
    registry.set_alias("seen", 1, "champion", "test")
    child = TrainJob(dataset=str(small_dataset), training=changed, preset="small", name="child", storage="./kept")
    train(replace(child, init_from="models:/seen/1"))
    train(replace(child, name="grandchild", init_from=str(workplace / "kept/child/bundle")))
    shutil.copytree("kept/child/bundle", "kept/child/bundle_00000006")
    train(replace(child, name="of-a-step", init_from="kept/child@6"))
    train(replace(child, name="of-a-kept-one", init_from=str(workplace / "kept/child/bundle_00000006")))
    train(replace(child, name="stranger"))
    stopped = train(replace(first, name="stopped", register=None)).run_id
    mlflow.MlflowClient().set_terminated(stopped, "KILLED")
    with pytest.raises(IcfaceError, match="nobody was taken out"):
        affected(str(data))

    forget(str(data), identities=["wolfgang"])
    found = {run.name: run for run in affected(str(data))}
    grandchildren = ["grandchild", "of-a-step", "of-a-kept-one"]
    assert list(found) == ["first", "stopped", "child", *grandchildren], "parents first, and nobody else"
    assert found["first"].versions == ("models:/seen/1 (champion)",)
    assert found["stopped"].command is None
    assert found["child"].why == "began with the model of first"
    assert f"--init-from {workplace}/kept/first-again/bundle" in found["child"].command
    assert f"--init-from {workplace}/kept/child-again/bundle" in found["grandchild"].command

    capsys.readouterr()
    assert main(["train", "--without", str(data)]) == 0
    said = capsys.readouterr().out
    table = json.loads(said.splitlines()[0])
    assert [row["run"] for row in table["rows"]] == list(found)
    assert "models that saw them: models:/seen/1" in said

    # The command is the training as it was, under another name.
    again = []
    monkeypatch.setattr("orchestration.commands.train.train", lambda options, reporter: again.append(options))
    assert main(shlex.split(found["first"].command)[1:]) == 0
    assert again[0].training == changed
    assert (again[0].name, again[0].workers, again[0].register) == ("first-again", 2, "seen")
    assert Path(again[0].storage) == workplace / "kept"
    # Once that is done, it is not listed: it was trained on the data set as it is.
    monkeypatch.setattr("orchestration.train.driver.check_trainable", lambda config, dataset: None)
    train(replace(first, name="first-again", storage=again[0].storage))
    assert [run.name for run in affected(str(data))] == list(found)


def test_what_is_no_data_set_and_other_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--without", str(tmp_path / "none")]) == 1
    assert "is not a data set" in capsys.readouterr().err
    assert main(["train", "data", "--without", "data"]) == 2


def test_a_run_goes_on_without_the_model_that_it_began_with(
    data: Path, other_bundle: Path, tiny, at_once, workplace: Path, tmp_path: Path
):
    start = shutil.copytree(other_bundle, tmp_path / "start")
    job = TrainJob(dataset=str(data), training=tiny, name="begun", init_from=str(start))
    first = train(job)
    shutil.rmtree(start)
    checkpoint = workplace / "runs/begun/checkpoint_00000006"
    checkpoint.mkdir()
    longer = replace(job, training=tiny.merge({"steps": tiny.steps + 2}), init_from=None, resume=True)
    second = train(longer)
    assert second.run_id == first.run_id
    assert load_bundle(second.bundle).config.licence == "non-commercial", "as of the model that it began with"
    checkpoint.rmdir()
    shutil.rmtree(workplace / "runs/begun/bundle")
    with pytest.raises(IcfaceError, match="start is not a model"):
        train(longer)  # it has no weights of its own
