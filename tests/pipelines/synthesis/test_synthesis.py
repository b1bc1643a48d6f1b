"""Data sets of synthetic people: like any other, exact, and the same however often the job was stopped."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.synthetic_people import build_people

from icface.analyzers.blendshapes import attributes_from_blendshapes
from icface.analyzers.registry import from_record, registrations
from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.images import decode_jpeg
from icface.synthetic.labels import OWN
from pipelines.curation.relabel import relabel
from pipelines.dataset import Dataset
from pipelines.shard import shard_names
from pipelines.storage import Folder
from pipelines.synthesis import job
from pipelines.synthesis.config import SynthesisConfig
from pipelines.synthesis.motions import StoredMotions, motions

PEOPLE, FRAMES = 3, 60


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    config = SynthesisConfig(
        dataset=str(tmp_path_factory.mktemp("synthetic") / "data"), people=PEOPLE, frames=FRAMES, size=48, seed=5
    )
    build_people(config)
    return config


def test_it_reads_like_any_other(synthetic):
    dataset = Dataset.open(synthetic.dataset)
    assert dataset.analyzer["name"] == "synthetic"
    assert dataset.licence == "CC0-1.0"
    assert dataset.meta["counts"]["identities"] == {"train": 2, "val": 1, "test": 0}
    assert all(attribute.trained for attribute in dataset.schema.attributes)
    held = dataset.row_groups("train", held_out=True)
    assert {group.rows for group in held} == {6}
    clips = dataset.clips()
    assert clips["frames_kept"].tolist() != clips["frames_read"].tolist() == [FRAMES] * PEOPLE
    table = dataset.read(dataset.row_groups("val")[0]).to_pandas()
    assert len(table) == FRAMES
    picture = decode_jpeg(np.frombuffer(table["image"][0], np.uint8))
    assert picture.shape == (48, 48, 3)
    points = np.stack(table["landmarks"]).reshape(-1, 68, 2).astype(float)
    assert 0.1 < points.min() < points.max() < 0.95
    low, high = points.min(axis=1), points.max(axis=1)
    assert np.allclose((high - low).max(axis=1), 1 / 1.6, atol=0.08)  # the crop rule of real clips
    assert table[list(ATTRIBUTE_NAMES)].notna().all(axis=None)


def test_stored_blendshapes_and_matrix_give_the_stored_labels(synthetic):
    dataset = Dataset.open(synthetic.dataset)
    for group in dataset.row_groups("train"):
        table = dataset.read(group).to_pandas()
        shapes, matrices = np.stack(table["blendshapes"]), np.stack(table["face_matrix"])
        found = attributes_from_blendshapes(shapes, matrices, np.stack(table["landmarks"]))
        for column, name in enumerate(ATTRIBUTE_NAMES):
            if name not in OWN:
                np.testing.assert_allclose(found[:, column], table[name], atol=0.01, err_msg=name)


def test_a_job_that_was_stopped_goes_on_and_gives_the_same_bytes(synthetic, tmp_path):
    again = SynthesisConfig(**{**vars(synthetic), "dataset": str(tmp_path / "data")})
    build_people(again, shards=1)
    with pytest.raises(IcfaceError, match="not finished"):
        Dataset.open(again.dataset)
    assert len(shard_names(Folder.at(again.dataset))) == 1
    build_people(again)

    def contents(url):
        folder = Folder.at(url)
        names = ["dataset.json", "index.parquet", "options.json"]
        for name in shard_names(folder):
            names += [f"clips/{name}.parquet", f"index/{name}.parquet"]
            names += [
                f"frames/split={s}/{name}.parquet"
                for s in ("train", "val")
                if folder.exists(f"frames/split={s}/{name}.parquet")
            ]
        return {name: folder.read(name) for name in names}

    assert contents(again.dataset) == contents(synthetic.dataset)


def test_more_people_leave_those_there_are(synthetic):
    def plan(people):
        config = SynthesisConfig(**{**vars(synthetic), "people": people})
        return {shard.name for shard in job.make_plan(config, Folder.at("memory://none")).shards}

    few, many = plan(60), plan(64)
    assert len(few - many) <= 2 < len(few & many)


def test_two_commands_do_not_write_one_data_set(synthetic):
    with (
        Folder.at(synthetic.dataset).alone(),
        pytest.raises(IcfaceError, match="another icface command is writing"),
    ):
        job.synthesise(synthetic)


def test_other_options_are_refused(synthetic):
    with pytest.raises(IcfaceError, match="frames was 60 and is 61 now"):
        job.check_options(SynthesisConfig(**{**vars(synthetic), "frames": 61}), Folder.at(synthetic.dataset))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("people", 0, "people must be at least 1"),
        ("frames", 0, "frames must be at least 1"),
        ("size", 30, "size must be even and at least 32"),
        ("size", 33, "size must be even"),
        ("seed", -1, "seed must not be negative"),
        ("val_fraction", 1.5, "val_fraction must lie in 0..1"),
        ("workers", 0, "workers must be at least 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(option, value, words):
    with pytest.raises(IcfaceError, match=words) as refused:
        SynthesisConfig(dataset="data", **{option: value})
    assert "\n" not in str(refused.value)


def test_motions_of_a_data_set_are_played_again(synthetic):
    stored = StoredMotions(synthetic.dataset)
    table = pd.concat([Dataset.open(synthetic.dataset).read(group).to_pandas() for group in stored.groups])
    rows = {tuple(np.float32(shapes)[1:]) for shapes in table["blendshapes"]}
    moved = stored.of(0, 90, seed=1)
    assert len(moved) == 90
    assert {tuple(row[:51]) for row in moved.units} <= rows
    assert (moved.units == stored.of(0, 90, seed=1).units).all()
    assert np.degrees(np.abs(np.diff(moved.pose, axis=0))).max() < 4  # back and forth: nothing jumps


def test_a_motion_file_moves_its_units_alone(tmp_path):
    path = tmp_path / "smile.csv"
    path.write_text("frame, mouthSmileLeft, pose_yaw\n0, 0.0, 0.1\n1, 0.5, 0.2\n2, 1.0, 9.0\n")
    moved = motions(str(path)).of(0, 5, seed=0)
    assert moved.units.sum(axis=1).tolist() == [0, 0.5, 1, 0.5, 0]
    assert moved.pose[:, 1].tolist() == pytest.approx([0.1, 0.2, 0.7, 0.2, 0.1])


def test_bad_motions_are_refused_in_one_line(synthetic, tmp_path):
    files = {
        "unit.csv": "mouthSmirk\n1\n",
        "text.csv": "jawOpen\nwide\n",
        "gap.csv": "jawOpen,eyeWideLeft\n1,\n",
        "none.csv": "jawOpen\n",
    }
    words = {"unit.csv": "unknown unit 'mouthSmirk'", "text.csv": "number", "gap.csv": "empty", "none.csv": "no frames"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(IcfaceError, match=words[name]) as refused:
            motions(str(tmp_path / name))
        assert "\n" not in str(refused.value)
    with pytest.raises(IcfaceError, match="cannot be read"):
        motions(str(tmp_path / "missing.csv"))
    with pytest.raises(IcfaceError, match="is not a data set"):
        motions(str(tmp_path))


def test_a_data_set_without_blendshapes_tells_no_motion(synthetic, tmp_path, monkeypatch):
    bare = Dataset.open(synthetic.dataset)
    table = bare.read(bare.row_groups("val")[0], ["blendshapes"])
    monkeypatch.setattr(
        Dataset,
        "read",
        lambda *_: table.set_column(0, table.schema.field(0), pa.nulls(len(table), table.schema.field(0).type)),
    )
    with pytest.raises(IcfaceError, match="no blendshapes") as refused:
        motions(synthetic.dataset)
    assert "\n" not in str(refused.value)


def test_exact_labels_are_not_measured_again(synthetic):
    with pytest.raises(IcfaceError, match="synthetic people, whose attributes are exact"):
        relabel(synthetic.dataset)


def test_nobody_can_ask_for_the_analyzer_that_measured_nothing(synthetic):
    assert "synthetic" not in registrations()
    analyzer = from_record(json.loads(json.dumps(Dataset.open(synthetic.dataset).analyzer)))
    assert analyzer.name == "mediapipe"  # pictures of a model trained on such data are measured by the default one
    analyzer.close()
