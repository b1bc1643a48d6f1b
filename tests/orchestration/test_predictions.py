import csv
import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from benchmarks.evaluation_pairs import write_pairs
from benchmarks.gpu_run import render
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.evaluation.predictions import Predictions
from icface.evaluation.report import base
from orchestration.commands.evaluate import main
from orchestration.predictions import evaluate_predictions
from orchestration.registry.evaluation import evaluated
from pipelines.dataset import Dataset

ONLY_MODELS = {"zero_edit_l1", "zero_edit_units", "zero_edit_pose", "jitter"}
"""Metrics for which a model is asked for more than the pairs."""
CHOICE = {"per_track": 3, "tracks": 2}


@pytest.fixture(scope="module")
def rendered(small_dataset: Path, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `benchmarks/gpu_run.py` writes of a model."""
    folder = tmp_path_factory.mktemp("rendered")
    dataset = Dataset.open(str(small_dataset))
    render(load_bundle(other_bundle), dataset, folder, Namespace(**CHOICE), torch.device("cpu"))
    return folder


@pytest.fixture
def changed(rendered: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    shutil.copytree(rendered, tmp_path / "changed")
    return tmp_path / "changed"


def test_rendered_pictures_score_as_the_model_that_made_them(
    rendered: Path, small_dataset: Path, other_bundle: Path
) -> None:
    theirs, _ = evaluate_predictions(str(rendered), str(small_dataset))
    ours = evaluated(str(other_bundle), str(small_dataset), **CHOICE).report
    assert theirs.comparable == ours.comparable and theirs.groups.keys() == ours.groups.keys()
    for name, group in ours.groups.items():
        for reference, scores in group.scores.items():
            for metric, value in scores.items():
                if base(metric) in ONLY_MODELS:
                    assert metric not in theirs.groups[name].scores[reference]
                    continue
                assert theirs.groups[name].scores[reference][metric] == pytest.approx(value), (name, reference, metric)
    # The sweeps are on top: the model was evaluated without.
    assert {"pose_yaw", "AU12"} <= theirs.groups["held_out"].leakage[""].keys()
    assert not ours.groups["held_out"].leakage


def test_another_method_is_scored_on_the_list_of_pairs(small_dataset: Path, tmp_path: Path) -> None:
    """One that answers with the driving frame itself is as good as real frames, and has no neutral face."""
    write_pairs(Dataset.open(str(small_dataset)), tmp_path, **CHOICE)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    with (tmp_path / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "kind", "key"], *([row["driving"], "pair", row["key"]] for row in listed)])
    report, _ = evaluate_predictions(str(tmp_path), str(small_dataset), groups=["held_out"])
    assert list(report.groups) == ["held_out"]
    scores = report.groups["held_out"].scores
    assert scores["model"]["face_l1"] == 0 and scores["model"]["sharpness"] == pytest.approx(1)
    assert scores["model"]["r.yaw"] == scores["noise_floor"]["r.yaw"]
    assert scores["model"].get("neutral_leak") is scores["model"].get("neutral_variance") is None


def test_a_pair_without_a_picture_is_named(changed: Path, small_dataset: Path) -> None:
    lines = (changed / "predictions.csv").read_text().splitlines()
    lost = next(line for line in lines if ",pair," in line)
    (changed / "predictions.csv").write_text("\n".join(line for line in lines if line != lost) + "\n")
    with pytest.raises(IcfaceError, match="no picture for the pair held_out:"):
        evaluate_predictions(str(changed), str(small_dataset))


def test_pictures_of_other_pairs_or_data_are_refused(changed: Path, small_dataset: Path) -> None:
    facts = json.loads((changed / "predictions.json").read_text())
    (changed / "predictions.json").write_text(json.dumps(facts | {"per_track": 2}))
    with pytest.raises(IcfaceError, match="pairs_hash is not that of 2 frames a track"):
        evaluate_predictions(str(changed), str(small_dataset))
    (changed / "predictions.json").write_text(json.dumps(facts | {"dataset_hash": "0"}))
    with pytest.raises(IcfaceError, match="another data set"):
        evaluate_predictions(str(changed), str(small_dataset))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../x.png,pair,g,k,,", "line 2: file must be a path inside of the folder"),
        ("x.png,portrait,g,k,,", "line 2: unknown kind 'portrait'"),
        ("x.png,sweep,g,k,AU99,1", "line 2: unknown attribute 'AU99'"),
        ("x.png,sweep,g,k,AU12,much", "line 2: value must be a number"),
        ("x.png,pair,g,k,,\ny.png,pair,g,k,,", "line 3: there is a picture of kind pair for k already"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(changed: Path, line: str, message: str) -> None:
    (changed / "predictions.csv").write_text(f"file,kind,group,key,attribute,value\n{line}\n")
    with pytest.raises(IcfaceError, match=message):
        Predictions.read(changed)


def test_a_folder_without_its_files_is_refused(tmp_path: Path, changed: Path) -> None:
    with pytest.raises(IcfaceError, match=r"predictions\.json cannot be read"):
        Predictions.read(tmp_path)
    (changed / "predictions.csv").write_text("file,key\n")
    with pytest.raises(IcfaceError, match="names no column kind"):
        Predictions.read(changed)


def test_the_command_scores_a_folder(
    rendered: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        ["--predictions", str(rendered), str(small_dataset), "--split", "held_out", "--json", str(tmp_path / "r.json")]
    )
    assert json.loads((tmp_path / "r.json").read_text())["size"] == 32
    assert "held_out" in capsys.readouterr().out
