"""The job on real clips and on what is none, with a real Ray."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.datasets import flat_config

from icface.errors import IcfaceError, root_cause
from icface.images import decode_image
from pipelines.cluster import connect
from pipelines.config import PreprocessConfig
from pipelines.dataset import Dataset
from pipelines.preprocess.job import preprocess
from pipelines.storage import Folder


@pytest.fixture(scope="module", autouse=True)
def ray_here():
    with connect("local", 2):
        yield


@pytest.fixture
def source(tmp_path: Path, sample_clips: dict[str, Path]) -> Path:
    """One real clip between inputs that are none."""
    folder = tmp_path / "clips"
    for place in ("ann/v", "bob/v"):
        (folder / place).mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], folder / "ann/v/1.mp4")
    (folder / "bob/v/text.mp4").write_text("this is not a video\n")
    (folder / "bob/v/empty.mp4").touch()
    data = sample_clips["single_face.mp4"].read_bytes()
    (folder / "bob/v/cut.mp4").write_bytes(data[: len(data) // 3])
    return folder


def options(source: Path, tmp_path: Path, **changes) -> PreprocessConfig:
    values = {"source": str(source), "dataset": str(tmp_path / "data"), "size": 32, "every": 3, "val_fraction": 0.0}
    return flat_config(**{**values, **changes})


def contents(url: str) -> dict[str, bytes]:
    """Every Parquet file of a data set by name, but `clips`, whose rows hold paths."""
    root = Path(url)
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.parquet"))}


def test_bad_clips_are_recorded_and_the_rest_goes_on(source: Path, tmp_path: Path):
    told = []
    summary = preprocess(options(source, tmp_path), told.append)
    assert (summary.clips, summary.ok, summary.failed + summary.rejected) == (4, 1, 3)
    dataset = Dataset.open(summary.url)
    clips = dataset.clips().set_index("clip")
    assert clips.loc["ann/v/1", "status"] == "ok"
    for name in ("text", "empty", "cut"):
        row = clips.loc[f"bob/v/{name}"]
        assert row["status"] in ("failed", "rejected")
        assert row["reason"]
        assert "\n" not in row["reason"]
    assert told[-1].total == 4
    assert not list(Path(summary.url).rglob("*.tmp"))


def test_rows_are_what_the_interface_says(source: Path, tmp_path: Path):
    dataset = Dataset.open(preprocess(options(source, tmp_path)).url)
    groups = dataset.row_groups("train")
    table = dataset.read(groups[0])
    assert set(table["identity"].to_pylist()) == {"ann"}
    frames = table["frame"].to_numpy()
    assert (np.diff(frames) == 3).all()
    assert np.allclose(table["timestamp"].to_numpy(), frames / dataset.clips()["fps"].dropna().iloc[0], atol=1e-4)
    picture = decode_image(table["image"][0].as_py())
    assert picture.shape == (32, 32, 3)
    assert table["AU14"].null_count == len(table)
    assert table["AU12"].null_count == 0
    landmarks = np.array(table["landmarks"][0].as_py(), np.float32).reshape(68, 2)
    assert ((landmarks > 0) & (landmarks < 1)).all()
    # Equal index and file: training trusts the index alone.
    for group in groups:
        assert pq.read_metadata(f"{dataset.url}/{group.file}").row_group(group.ordinal).num_rows == group.rows
    smiles = np.concatenate([dataset.read(group, ["AU12"])["AU12"].to_numpy() for group in groups])
    seen = dataset.schema.attributes[dataset.schema.index("AU12")].seen
    expected = [smiles.min(), *np.percentile(smiles, [1, 50, 99]), smiles.max()]
    np.testing.assert_allclose([seen.min, seen.p01, seen.p50, seen.p99, seen.max], expected, atol=1e-4)
    assert dataset.schema.attributes[dataset.schema.index("AU14")].seen is None


def test_second_run_does_nothing_and_other_options_are_refused(source: Path, tmp_path: Path):
    config = options(source, tmp_path)
    preprocess(config)
    before = contents(config.dataset)
    again = preprocess(config)
    assert again.new_clips == 0
    assert list(again.frames) == list(again.identities) == ["train", "val", "test"]
    assert contents(config.dataset) == before
    with pytest.raises(IcfaceError, match="size was 32 and is 48 now"):
        preprocess(options(source, tmp_path, size=48))
    assert contents(config.dataset) == before


def test_the_reason_of_a_short_track_says_what_is_counted(source: Path, tmp_path: Path):
    summary = preprocess(options(source, tmp_path, every=4, min_frames=900))
    row = Dataset.open(summary.url).clips().set_index("clip").loc["ann/v/1"]
    assert row["reason"].startswith("short track (")
    assert row["reason"].endswith(" frames left after --every 4, --min-frames is 900)")
    assert 0 < int(row["reason"].split("(")[1].split()[0]) <= row["dropped_short_track"]
    assert summary.reasons["short track"] == 1


def test_a_lost_shard_comes_back_to_the_bit(source: Path, tmp_path: Path):
    config = options(source, tmp_path)
    preprocess(config)
    before = contents(config.dataset)
    lost = next(Path(config.dataset, "clips").glob("*.parquet"))
    lost.unlink()
    Path(config.dataset, "dataset.json").unlink()
    summary = preprocess(config)
    assert 0 < summary.new_clips < 4
    assert contents(config.dataset) == before


def test_two_commands_do_not_write_one_data_set(source: Path, tmp_path: Path):
    config = options(source, tmp_path)
    with Folder.at(config.dataset).alone(), pytest.raises(IcfaceError, match="another icface command is writing"):
        preprocess(config)
    with Folder.at(config.dataset).alone(among=True), Folder.at(config.dataset).alone(among=True):
        pass
    assert not list(Path(config.dataset).iterdir())


def test_places_that_are_no_data_set_are_refused_in_one_line(source: Path, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/README.md").write_text("mine")
    for place, said in (
        ("file", "is a file"),
        ("project", "holds something else"),
        ("/proc/data", "cannot be written"),
    ):
        with pytest.raises(IcfaceError, match=said):
            preprocess(options(source, tmp_path, dataset=str(tmp_path / place)))
    assert (tmp_path / "project/README.md").read_text() == "mine"


def test_a_full_disk_is_said_in_one_line():
    inner = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    outer = RuntimeError("a task failed")
    outer.__cause__ = inner
    assert root_cause(outer).startswith("a disk is full")
    advice = RuntimeError("ValueError: what happened\nTo change retry attempts, backoff, or which errors are retried")
    assert root_cause(advice) == "ValueError: what happened"


def test_too_many_failures_fail_after_all_is_written(source: Path, tmp_path: Path):
    config = options(source, tmp_path, max_failed=0.1)
    with pytest.raises(IcfaceError, match=r"more than --max-failed 0\.1"):
        preprocess(config)
    assert Dataset.open(config.dataset).meta["counts"]["ok"] == 1


def test_too_many_rejected_clips_fail_with_their_reasons(source: Path, tmp_path: Path):
    strict = {"min_face": 4000, "every": 10, "max_rejected": 0.1}
    with pytest.raises(
        IcfaceError, match=r"of 4 clips were rejected \(.*small face \d.*\), more than --max-rejected 0\.1"
    ):
        preprocess(options(source, tmp_path, **strict))
    assert Folder.at(str(tmp_path / "data")).exists("dataset.json"), "everything is written"
    summary = preprocess(options(source, tmp_path, **{**strict, "max_rejected": 1.0}))
    assert summary.new_clips == 0
    with pytest.raises(ValueError, match=r"max_rejected must lie in 0\.\.1"):
        options(source, tmp_path, max_rejected=20)


def test_missing_and_empty_sources(tmp_path: Path):
    with pytest.raises(IcfaceError, match="does not exist"):
        preprocess(options(tmp_path / "nowhere", tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(IcfaceError, match="holds no clips"):
        preprocess(options(tmp_path / "empty", tmp_path))
    assert not (tmp_path / "data").exists()


def test_shared_bad_inputs(shared: Path, tmp_path: Path):
    folder = tmp_path / "clips"
    (folder / "bad").mkdir(parents=True)
    for path in (shared / "bad").glob("*.mp4"):
        (folder / "bad" / path.name).symlink_to(path)
    good = next((shared / "clips").rglob("*.mp4"))
    (folder / "good").mkdir()
    (folder / "good/clip.mp4").symlink_to(good)
    summary = preprocess(options(folder, tmp_path))
    clips = Dataset.open(summary.url).clips().set_index("clip")
    assert clips.loc["good/clip/clip", "status"] == "ok"
    for name in ("garbage", "text", "zero_bytes"):
        assert clips.loc[f"bad/{name}/{name}", "status"] == "failed"
    assert clips.loc["bad/no_face/no_face", "status"] == "rejected"
    assert json.loads(Path(summary.url, "dataset.json").read_text())["counts"]["clips"] == len(clips)
