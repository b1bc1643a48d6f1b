"""Masks, flow and visibility in data sets of synthetic people."""

import io
import re
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.synthetic_people import build_people

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.labels import distance_from_neutral
from icface.synthetic.pixel_truth import LABELS
from pipelines.curation.derive import merge, split, subset
from pipelines.curation.export import export
from pipelines.curation.forget import forget
from pipelines.curation.verify import verify
from pipelines.dataset import Dataset
from pipelines.format import FRAMES, TRUTH
from pipelines.storage import Folder
from pipelines.synthesis import job, truth_columns
from pipelines.synthesis.config import SynthesisConfig

FRAME_COUNT, SIZE = 52, 48
PAGE = Path(__file__).resolve().parents[3] / "docs/synthetic.md"
ADDED = [*TRUTH["mask"].names, *TRUTH["flow"].names]


def options(url, **others) -> SynthesisConfig:
    return SynthesisConfig(dataset=str(url), people=2, frames=FRAME_COUNT, size=SIZE, seed=6, **others)


def grey(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8
    assert picture.shape == (SIZE, SIZE)
    return picture


def rows(url) -> list:
    """All rows, by clip."""
    dataset = Dataset.open(str(url))
    groups = sorted(dataset.all_row_groups(), key=lambda group: (group.clip, group.held_out, group.ordinal))
    return [row for group in groups for row in dataset.read(group).to_pylist()]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    config = options(tmp_path_factory.mktemp("truth") / "data", truth=("flow", "mask"))
    build_people(config)
    return config


def test_the_other_columns_are_as_without_them(full, tmp_path):
    bare = options(tmp_path / "data")
    build_people(bare)
    with_truth, without = Dataset.open(full.dataset), Dataset.open(bare.dataset)
    assert (with_truth.truth, without.truth) == (("flow", "mask"), ())
    assert with_truth.row_groups("val")[0].rows == FRAME_COUNT
    for group in with_truth.row_groups("val"):
        one, other = with_truth.read(group), without.read(group)
        assert one.column_names == [*FRAMES.names, *ADDED]
        assert one.select(FRAMES.names).equals(other)


def test_flow_leads_to_the_frame_that_is_nearest_to_neutral(full):
    dataset = Dataset.open(full.dataset)
    for group in [*dataset.row_groups("train"), *dataset.row_groups("val")]:
        table = dataset.read(group).to_pandas()
        labels = table[list(ATTRIBUTE_NAMES)].to_numpy(np.float32)
        nearest = table["frame"].to_numpy()[distance_from_neutral(labels).argmin()]
        assert set(table["flow_frame"]) == {nearest}
        flow = np.stack(table["flow"]).reshape(-1, SIZE, SIZE, 2).astype(np.float32)
        itself = int(np.flatnonzero(table["frame"] == nearest)[0])
        assert np.abs(flow[itself]).max() < 0.01
        visible = np.stack([grey(data) for data in table["visibility"]])
        assert set(np.unique(visible)) == {0, 255}
        assert (visible[itself] == 255).all()
        # Landmarks are stored apart: where one is seen, the flow there leads to the same one.
        points = np.stack(table["landmarks"]).reshape(-1, 68, 2).astype(np.float32) * SIZE
        for point in (19, 24, 27, 30, 33, 48, 54):
            for row in range(0, len(table), 7):
                column, line = (points[row, point] - 0.5).round().astype(int)
                if visible[row, line, column]:
                    moved = points[itself, point] - points[row, point]
                    assert flow[row, line, column] == pytest.approx(moved, abs=0.8), (point, row)
    held = dataset.row_groups("train", held_out=True)
    assert held
    for group in held:  # which are kept from training: their flow leads to a frame that is not
        trained = next(each for each in dataset.row_groups("train") if each.clip == group.clip)
        frames = dataset.read(trained, ["frame", "flow_frame"]).to_pandas()
        assert set(dataset.read(group, ["flow_frame"])["flow_frame"].to_pylist()) == set(frames["flow_frame"])


def test_masks_show_a_face_where_its_landmarks_are(full):
    dataset = Dataset.open(full.dataset)
    table = dataset.read(dataset.row_groups("val")[0], ["mask", "landmarks"]).to_pandas()
    masks = np.stack([grey(data) for data in table["mask"]])
    assert set(np.unique(masks)) <= set(range(len(LABELS)))
    assert 0.15 < (masks == LABELS.index("face")).mean() < 0.6
    points = np.stack(table["landmarks"]).reshape(-1, 68, 2).astype(np.float32) * SIZE
    nose = points[:, 30].astype(int)
    assert {LABELS[mask[y, x]] for mask, (x, y) in zip(masks, nose, strict=True)} == {"face"}


def test_a_job_that_was_stopped_gives_the_same_bytes(full, tmp_path):
    again = options(tmp_path / "data", truth=("mask", "flow"))  # in another order
    build_people(again, shards=1)
    build_people(again)
    one, other = (Folder.at(config.dataset) for config in (full, again))
    files = [
        f"{part}/{name}" for part in ("frames/split=train", "frames/split=val", "clips") for name in one.names(part)
    ]
    assert len(files) >= 4
    for name in ["dataset.json", "index.parquet", "README.md", *files]:
        assert one.read(name) == other.read(name), name


def test_the_documented_way_to_warp_a_picture_works(full, tmp_path, monkeypatch):
    (tmp_path / "synthetic").symlink_to(full.dataset)
    monkeypatch.chdir(tmp_path)
    snippet = next(text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "flow" in text)
    names: dict = {}
    exec(compile(snippet, str(PAGE), "exec"), names)
    row = max(names["rows"], key=lambda row: np.abs(row["flow"]).mean())  # that which moved furthest
    picture, neutral = (names["pictures"][row[name]].astype(float) for name in ("frame", "flow_frame"))
    found, seen = names["warped"](row)
    assert 0.3 < seen.mean() < 1
    assert np.abs(found - picture)[seen].mean() < 0.7 * np.abs(neutral - picture)[seen].mean()


def test_another_choice_is_refused(full):
    with pytest.raises(IcfaceError, match=r"truth was \['flow', 'mask'\] and is \['mask'\] now"):
        job.check_options(options(full.dataset, truth=("mask",)), Folder.at(full.dataset))


def test_row_groups_hold_few_large_flows(tmp_path, monkeypatch):
    monkeypatch.setattr(truth_columns, "FLOW_BYTES", 9 * 4 * SIZE * SIZE)
    config = SynthesisConfig(dataset=str(tmp_path), people=1, frames=20, size=SIZE, val_fraction=0, truth=("flow",))
    build_people(config)
    dataset = Dataset.open(str(tmp_path))
    assert [group.rows for group in dataset.row_groups("train")] == [9, 9, 2]
    assert len(set().union(*(dataset.read(g)["flow_frame"].to_pylist() for g in dataset.row_groups("train")))) == 1
    assert verify(str(tmp_path)).problems == []


def test_other_commands_carry_the_columns(full, tmp_path):
    people = sorted({row["identity"] for row in rows(full.dataset)})
    whole = {(row["clip"], row["frame"]): row for row in rows(full.dataset)}
    assert verify(full.dataset).problems == []
    parts = [tmp_path / "first", tmp_path / "others"]
    subset(full.dataset, str(parts[0]), f"identity = '{people[0]}'")
    subset(full.dataset, str(parts[1]), f"identity <> '{people[0]}' and flow_frame >= 0")
    merge([str(part) for part in parts], str(tmp_path / "joined"))
    split(full.dataset, str(tmp_path / "split"), 1.0)
    for name in ("joined", "split"):
        assert verify(str(tmp_path / name)).problems == []
        assert Dataset.open(str(tmp_path / name)).truth == ("flow", "mask")
        found = rows(tmp_path / name)
        assert len(found) == len(whole)
        for row in found:
            before = whole[row["clip"], row["frame"]]
            assert all(row[column] == before[column] for column in ADDED)
    forget(str(tmp_path / "joined"), identities=[people[0]])
    assert verify(str(tmp_path / "joined")).problems == []
    assert {row["identity"] for row in rows(tmp_path / "joined")} == set(people[1:])


def test_a_damaged_mask_is_found(full, tmp_path):
    subset(full.dataset, str(tmp_path / "data"), "split = 'val'")
    (file,) = (tmp_path / "data/frames/split=val").glob("*.parquet")
    table = pq.read_table(file)
    place = table.schema.get_field_index("mask")
    broken = table.set_column(place, table.schema.field(place), [[b"no picture"] * len(table)])
    pq.write_table(broken, file)
    (problem,) = verify(str(tmp_path / "data")).problems
    assert "a picture cannot be decoded (mask)" in problem


def test_data_sets_with_other_columns_are_not_joined(full, tmp_path):
    bare = SynthesisConfig(dataset=str(tmp_path / "bare"), people=1, frames=8, size=SIZE, val_fraction=0)
    build_people(bare)
    with pytest.raises(IcfaceError, match=r"columns of --truth differ: .* has flow, mask and .* has none") as refused:
        merge([full.dataset, bare.dataset], str(tmp_path / "both"))
    assert "\n" not in str(refused.value)


def test_exports_have_them(full, tmp_path, monkeypatch):
    (file,) = [name for name in export(full.dataset, "webdataset", str(tmp_path / "web")) if name.startswith("val/")]
    stored = Dataset.open(full.dataset)
    first = stored.read(stored.row_groups("val")[0]).to_pylist()[0]
    with tarfile.open(tmp_path / "web" / file) as tar:
        names = tar.getnames()[:5]
        assert [name.partition(".")[2] for name in names] == [
            "jpg", "mask.png", "visibility.png", "flow.npy", "json",
        ]  # fmt: skip
        content = [tar.extractfile(name).read() for name in names]
    assert content[1] == first["mask"]
    flow = np.load(io.BytesIO(content[3]))
    assert (flow.dtype, flow.shape) == (np.float16, (SIZE, SIZE, 2))
    assert flow.reshape(-1).tolist() == first["flow"]

    export(full.dataset, "hf", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    for folder in (str(tmp_path / "hf"), full.dataset):
        loaded = datasets.load_dataset(folder, cache_dir=str(tmp_path / "cache"))["validation"]
        assert np.array_equal(np.array(loaded[0]["mask"]), grey(first["mask"]))
        assert loaded[0]["flow"] == first["flow"]
        assert loaded[0]["image"].size == (SIZE, SIZE)
