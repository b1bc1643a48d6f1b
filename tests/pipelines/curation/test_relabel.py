import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.openface_tables import openface_table

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from pipelines.curation import relabel as module
from pipelines.curation.relabel import relabel
from pipelines.dataset import META, Dataset
from pipelines.format import CLIPS
from pipelines.loading.sides import training_schema
from pipelines.preprocess.job import preprocess
from pipelines.storage import Folder
from tests.pipelines.conftest import crowd_config


def attributes(data: Path) -> pd.DataFrame:
    """All rows with their attributes."""
    dataset = Dataset.open(str(data))
    columns = ["clip", "frame", *ATTRIBUTE_NAMES]
    groups = [*dataset.row_groups("train"), *dataset.row_groups("train", held_out=True)]
    return pd.concat([dataset.read(group, columns).to_pandas() for group in groups]).set_index(["clip", "frame"])


def test_what_is_stored_gives_the_same_attributes_again(crowd: Path):
    data = crowd / "data"
    before = attributes(data)
    pictures = Dataset.open(str(data)).read(Dataset.open(str(data)).row_groups("train")[0], ["image"])
    done = relabel(str(data))
    after = attributes(data)
    assert (after.index == before.index).all()
    difference = (after - before).abs()
    # Stored in half precision: AU09 is 20 times a difference of landmarks.
    assert difference.drop(columns="AU09").max().max() < 0.01
    assert difference["AU09"].max() < 0.1
    assert (after.isna() == before.isna()).all().all()
    dataset = Dataset.open(str(data))
    assert dataset.read(dataset.row_groups("train")[0], ["image"]).equals(pictures)
    assert done.analyzer["name"] == "mediapipe"


def test_mediapipes_networks_in_torch_store_the_same(crowd: Path):
    data = crowd / "data"
    meta = json.loads((data / META).read_text())
    meta["analyzer"]["name"] = "mediapipe-torch"
    (data / META).write_text(json.dumps(meta))
    assert relabel(str(data)).analyzer["name"] == "mediapipe-torch"


def test_a_new_mapping_reaches_rows_index_and_baselines(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    data = crowd / "data"
    relabel(str(data))
    before, clips = attributes(data), Dataset.open(str(data)).clips().set_index("clip")
    mapping = module.attributes_from_blendshapes

    def bolder(*arguments) -> np.ndarray:
        values = mapping(*arguments)
        values[:, ATTRIBUTE_NAMES.index("AU12")] += 1
        return values

    monkeypatch.setattr(module, "attributes_from_blendshapes", bolder)
    monkeypatch.setattr(module, "MAPPING_VERSION", 77)
    relabel(str(data))
    dataset = Dataset.open(str(data))
    assert np.allclose(attributes(data)["AU12"], before["AU12"] + 1)
    assert np.allclose(attributes(data)["AU25"], before["AU25"])
    baselines = dataset.clips().set_index("clip")["baseline_AU12"]
    assert np.allclose(baselines, clips["baseline_AU12"] + 1, equal_nan=True)
    assert dataset.index["AU12_mean"].min() >= 1
    assert dataset.analyzer["fingerprint"].endswith("mapping 77")
    with pytest.raises(IcfaceError, match="mapping 77"):
        preprocess(crowd_config(crowd))


def test_openfaces_files_replace_the_labels_and_unsure_frames_go(crowd: Path):
    data = crowd / "data"
    before = attributes(data)
    root = crowd / "csv"
    tables = {}
    for clip in sorted({clip for clip, _ in before.index}):
        table = openface_table(int(before.loc[clip].index.max()) + 6, seed=len(tables))
        table.loc[6, "success"] = 0
        path = root / f"{clip}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        tables[clip] = table
    relabel(str(data), str(root))
    with pytest.raises(IcfaceError, match="labels of openface have none"):
        training_schema(Dataset.open(str(data)), sides=True)  # MediaPipe's blendshapes are still stored
    after = attributes(data)
    assert set(before.index) - set(after.index) == {(clip, 6) for clip in tables}
    for (clip, frame), row in after.iterrows():
        assert row["AU14"] == pytest.approx(tables[clip]["AU14_r"][frame], abs=1e-5)
        assert row["pose_yaw"] == pytest.approx(tables[clip]["pose_Ry"][frame], abs=1e-5)
    clips = Dataset.open(str(data)).clips()
    assert (clips["frames_kept"] == [len(after.loc[clip]) for clip in clips["clip"]]).all()
    assert Dataset.open(str(data)).analyzer["name"] == "openface"
    with pytest.raises(IcfaceError, match="labelled by openface"):
        relabel(str(data))


def test_a_missing_file_is_said_before_anything_changes(crowd: Path):
    (crowd / "csv").mkdir()
    with pytest.raises(IcfaceError, match="no OpenFace csv"):
        relabel(str(crowd / "data"), str(crowd / "csv"))
    Dataset.open(str(crowd / "data"))


def test_labels_do_not_change_while_another_command_writes(crowd: Path):
    data = crowd / "data"
    with Folder.at(data).alone(), pytest.raises(IcfaceError, match="another icface command is writing"):
        relabel(str(data))
    assert not (data / "relabelling").exists()
    with pytest.raises(IcfaceError, match="is not a finished data set"):
        relabel(str(crowd / "nothing"))
    assert not (crowd / "nothing").exists()


def test_a_half_relabelled_data_set_is_opened_by_nobody_until_it_is_whole(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    data = crowd / "data"
    work = module._relabel

    def die(*arguments) -> None:
        work(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_relabel", die)
    with pytest.raises(KeyboardInterrupt):
        relabel(str(data))
    with pytest.raises(IcfaceError, match="not finished"):
        Dataset.open(str(data))
    with pytest.raises(IcfaceError, match="half relabelled"):
        preprocess(crowd_config(crowd))
    monkeypatch.setattr(module, "_relabel", work)
    relabel(str(data))
    assert preprocess(crowd_config(crowd)).new_clips == 0


def test_a_stop_before_the_clips_are_written_loses_no_count_and_no_shard(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    """OpenFace sees nobody in a whole shard, and misses a frame of every other clip."""
    data, other = crowd / "data", Path(shutil.copytree(crowd / "data", crowd / "other"))
    clips = Dataset.open(str(data)).clips()
    lost = set(clips["clip"][clips["shard"] == clips["shard"][0]])
    before = attributes(data)
    for number, clip in enumerate(sorted(set(clips["clip"]))):
        table = openface_table(int(before.loc[clip].index.max()) + 6, seed=number)
        table.loc[slice(None) if clip in lost else 6, "success"] = 0
        path = crowd / f"csv/{clip}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    relabel(str(other), str(crowd / "csv"))
    write, calls = module.write_table, []

    def die(path, rows, schema) -> None:
        calls.append(schema)
        if schema is CLIPS:
            raise KeyboardInterrupt
        write(path, rows, schema)

    monkeypatch.setattr(module, "write_table", die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            relabel(str(data), str(crowd / "csv"))
    assert len(calls) == 4
    monkeypatch.setattr(module, "write_table", write)
    relabel(str(data), str(crowd / "csv"))
    found, expected = (Dataset.open(str(each)).clips().set_index("clip") for each in (data, other))
    assert found.equals(expected)
    assert set(found.index[found["status"] == "rejected"]) == lost
    assert (found["dropped_low_confidence"] > 0).all()
