"""Training batches: the same whatever the number of ranks, readers and restarts."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.images import decode_jpeg, decode_thumbnail
from icface.training.batch import Batch
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.loading import row_group_reader
from pipelines.loading.baselines import track_baseline
from pipelines.loading.pairs import PairBatches
from pipelines.loading.row_group_reader import CANDIDATES, RowGroupReader
from pipelines.loading.validation_frames import validation_frames
from pipelines.storage import Folder


@pytest.fixture(scope="module")
def dataset(small_dataset) -> Dataset:
    return Dataset.open(str(small_dataset))


def batches_of(dataset: Dataset, config: DataConfig | None = None, **changes) -> PairBatches:
    config = config or DataConfig(batch_size=4, rotate=10.0)
    return PairBatches(dataset, config, dataset.schema, 32, **{"seed": 3, "steps": 12, **changes})


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_shapes_and_masks(dataset: Dataset):
    batch = next(iter(batches_of(dataset).batches()))
    assert batch.source.shape == batch.driving.shape == (4, 3, 32, 32)
    assert batch.source.dtype == torch.uint8
    assert batch.driving_encoded.shape == (4, 20)
    assert (batch.driving_encoded >= 0).all()
    assert (batch.driving_encoded <= 1).all()
    never = ATTRIBUTE_NAMES.index("AU14")
    assert not batch.driving_measured[:, never].any()
    assert batch.driving_measured[:, ATTRIBUTE_NAMES.index("AU12")].all()
    neutral = dataset.schema.neutral_encoded()[never]
    assert torch.allclose(batch.driving_encoded[:, never], torch.tensor(neutral))


def test_the_example_for_tests_and_benchmarks_is_shaped_as_what_is_read(dataset: Dataset):
    read, example = next(iter(batches_of(dataset).batches())), Batch.example(4, 32, 20, 2)
    for name, values in vars(read).items():
        made = vars(example)[name]
        assert (made.shape, made.dtype) == (values.shape, values.dtype), name
        assert made.min() >= 0, name
        if name != "identity":
            assert made.max() <= (255 if made.dtype == torch.uint8 else 1), name
    assert same(example, Batch.example(4, 32, 20, 2))
    assert not same(example, Batch.example(4, 32, 20, 2, seed=1))
    given = torch.zeros(4, dtype=torch.int64)
    assert Batch.example(4, 32, 20, 2, identity=given).identity is given


def test_same_seed_same_batches_other_seed_others(dataset: Dataset):
    one, again, other = (list(batches_of(dataset, seed=seed).batches()) for seed in (3, 3, 4))
    assert len(one) == 12
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not all(same(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_each_batch(dataset: Dataset, ranks: int):
    whole = list(batches_of(dataset).batches())
    parts = [list(batches_of(dataset, rank=rank, world_size=ranks).batches()) for rank in range(ranks)]
    assert {len(part) for part in parts} == {12}
    for step, batch in enumerate(whole):
        for name, value in vars(batch).items():
            joined = torch.cat([getattr(part[step], name) for part in parts])
            assert torch.equal(value, joined), name


@pytest.mark.parametrize("first", [1, 8, 11])
def test_a_later_start_goes_on_with_the_same_batches(dataset: Dataset, first: int):
    whole = list(batches_of(dataset).batches())
    rest = list(batches_of(dataset, first_step=first).batches())
    assert len(rest) == 12 - first
    assert all(same(a, b) for a, b in zip(whole[first:], rest, strict=True))


def test_reading_processes_change_nothing(dataset: Dataset):
    alone = list(batches_of(dataset, rank=1, world_size=2, first_step=3).batches())
    config = DataConfig(batch_size=4, rotate=10.0, pairs_per_row_group=2, workers=2)
    two = batches_of(dataset, config, rank=1, world_size=2, first_step=3)
    short = batches_of(
        dataset, DataConfig(batch_size=4, rotate=10.0, pairs_per_row_group=2), rank=1, world_size=2, first_step=3
    )
    assert len(two.blocks) == 5  # more blocks than processes
    batches = list(two.batches())
    assert len(batches) == len(alone) == 9
    assert all(same(a, b) for a, b in zip(short.batches(), batches, strict=True))


def test_blocks_can_be_made_in_any_order(dataset: Dataset):
    pairs = batches_of(dataset)
    blocks = {number: pairs.block(number) for number in reversed(pairs.blocks)}
    in_order = [batch for number in pairs.blocks for batch in blocks[number]]
    assert all(same(a, b) for a, b in zip(in_order, batches_of(dataset).batches(), strict=True))


def test_what_is_not_visited_is_not_opened(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    read, opened = [], []
    files, footers = Folder.read, pq.ParquetFile
    monkeypatch.setattr(Folder, "read", lambda folder, name: read.append(name) or files(folder, name))

    def footer(stream: Any, **options: Any) -> pq.ParquetFile:
        if not isinstance(stream, pa.BufferReader):  # those are files that were read whole, and stand in `read`
            opened.append(stream)
        return footers(stream, **options)

    monkeypatch.setattr(pq, "ParquetFile", footer)
    data = Dataset.open(str(crowd / "data"))
    pairs = batches_of(data, DataConfig(batch_size=1, pairs_per_row_group=8), steps=8)
    assert read == ["dataset.json", "index.parquet"]
    assert opened == []
    assert len(pairs.block(0)) == 8
    assert len(opened) == 1
    assert len({group.file for group in data.row_groups("train")}) > 1
    assert len(read) == 2


def test_only_drawn_pictures_are_decoded(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    pictures, thumbnails = [], []
    monkeypatch.setattr("pipelines.loading.pairs.decode_jpeg", lambda data: pictures.append(1) or decode_jpeg(data))
    monkeypatch.setattr(
        "pipelines.loading.row_group_reader.decode_thumbnail",
        lambda data: thumbnails.append(1) or decode_thumbnail(data),
    )
    pairs = batches_of(dataset, DataConfig(batch_size=2), steps=16)
    first = pairs.arrays(0)
    with_neutral = int(first["has_neutral"][0].sum())
    assert len(pictures) == 8 * 2 * 2 + with_neutral
    assert 0 < len(thumbnails) <= 2 * CANDIDATES
    seen = len(thumbnails)
    again = batches_of(dataset, DataConfig(batch_size=2), steps=16)
    again._readers = pairs._readers
    again._readers[0]._kept.clear()
    again.block(0)
    assert len(thumbnails) == seen  # a row group's neutral frame is chosen once


def test_a_pair_is_two_frames_of_one_track_that_may_be_trained_on(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    track_of = {
        picture: (group.clip, group.track)
        for group in dataset.row_groups("train")
        for picture in dataset.read(group, ["image"])["image"].to_pylist()
    }
    drawn = []
    monkeypatch.setattr(
        "pipelines.loading.pairs.decode_jpeg", lambda data: drawn.append(data.tobytes()) or decode_jpeg(data)
    )
    block = batches_of(dataset, DataConfig(batch_size=2, pairs_per_row_group=4), steps=8).arrays(1)
    for slot in range(2):
        sample = [drawn.pop(0) for _ in range(8 + block["has_neutral"][0, slot])]
        assert len({track_of[picture] for picture in sample}) == 1
        two = sample[-8:]
        assert all(source != driving for source, driving in zip(two[::2], two[1::2], strict=True))
    assert drawn == []


def test_nobody_comes_twice_while_there_are_others(crowd: Path):
    data = Dataset.open(str(crowd / "data"))
    for batch, most in ((3, 1), (4, 2)):
        for made in batches_of(data, DataConfig(batch_size=batch, pairs_per_row_group=1), steps=5).batches():
            assert np.bincount(made.identity).max() == most


def test_a_batch_holds_both_people_equally_often(dataset: Dataset):
    for batch in batches_of(dataset).batches():
        assert sorted(batch.identity.tolist()) == [0, 0, 1, 1]


def test_deviations_against_numpy(dataset: Dataset):
    pairs = batches_of(dataset, DataConfig(batch_size=4, smoothing_frames=1))
    rows = [dataset.read(group) for group in dataset.row_groups("train")]
    raw = np.concatenate([np.stack([table[n].to_numpy() for n in ATTRIBUTE_NAMES], axis=1) for table in rows])
    yaw = dataset.schema.index("pose_yaw")
    expected = raw[:, yaw].clip(-0.7, 0.7).std() / 1.4
    assert pairs.deviations()[yaw] == pytest.approx(expected, rel=1e-4)
    assert pairs.deviations()[dataset.schema.index("AU14")] == 0


def test_a_batch_that_cannot_be_shared(dataset: Dataset):
    with pytest.raises(IcfaceError, match=r"data\.batch_size 4 cannot be shared by 3 workers"):
        batches_of(dataset, world_size=3)


def test_baselines_are_taken_off_each_track(dataset: Dataset):
    """Of the person's own frames: the 20th percentile of what is read is then 0, and the median of the pitch."""
    raw, relative = (
        RowGroupReader(dataset, DataConfig(smoothing_frames=1, baselines=baselines)) for baselines in (False, True)
    )
    group = max(dataset.row_groups("train"), key=lambda group: group.rows)
    before, after = (reader.sample(group.file, group.ordinal).labels for reader in (raw, relative))
    assert len(before) >= 50
    zero = track_baseline(dataset, group)
    expected = before - zero
    expected[:, 3:] = np.maximum(expected[:, 3:], 0)  # action units end at 0
    np.testing.assert_allclose(after, expected, atol=1e-6)
    pitch, au25 = ATTRIBUTE_NAMES.index("pose_pitch"), ATTRIBUTE_NAMES.index("AU25")
    assert np.median(after[:, pitch]) == pytest.approx(0, abs=1e-6)
    assert np.mean(after[:, au25] == 0) == pytest.approx(0.2, abs=1.5 / len(after))
    assert zero[au25] != 0


def test_validation_frames_are_real_frames_that_are_not_trained_on(dataset: Dataset):
    frames = validation_frames(dataset, DataConfig(smoothing_frames=1), dataset.schema, 32)
    held_out = sum(group.rows for group in dataset.row_groups("train", held_out=True))
    assert frames is not None and len(frames.pictures) == held_out > 1  # fewer than it would take
    assert frames.pictures.shape[1:] == (3, 32, 32) and frames.pictures.dtype == torch.uint8
    people = {group.identity for group in dataset.row_groups("train", held_out=True)}
    assert set(frames.identity.tolist()) == set(range(len(people)))
    table = dataset.read(dataset.row_groups("train", held_out=True)[0])
    values = np.array([[row[name] for name in ATTRIBUTE_NAMES] for row in table.to_pylist()], np.float32)
    np.testing.assert_allclose(frames.encoded[0], dataset.schema.encode(values[:1])[0][0], atol=1e-6)


def test_row_groups_are_kept_by_their_size(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    keys = [(group.file, group.ordinal) for group in dataset.row_groups("train")][:2]
    assert len(keys) == 2
    reader, reads = RowGroupReader(dataset, DataConfig()), []
    read = reader._read
    monkeypatch.setattr(reader, "_read", lambda key: reads.append(key) or read(key))
    sizes = [reader.sample(*key).nbytes for key in [*keys, *keys]][:2]
    assert sizes[0] > len(reader.sample(*keys[0]).jpegs)
    assert reads == keys, "both fit, and each was read once"
    for limit, kept in ((sum(sizes), keys), (sum(sizes) - 1, keys[1:]), (1, keys[1:])):
        monkeypatch.setattr(row_group_reader, "KEPT_BYTES", limit)
        fresh = RowGroupReader(dataset, DataConfig())
        for key in keys:
            fresh.sample(*key)
        assert list(fresh._kept) == kept, "the last one is kept whatever its size"


def test_a_reader_keeps_a_bounded_number_of_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.dataset.MAPPED_FILES", 2)
    for number in range(4):
        pq.write_table(pa.table({"number": [number]}), tmp_path / f"{number}.parquet")
    dataset = Dataset(Folder.at(str(tmp_path)), {}, pa.table({}), "", None)
    for number in (0, 1, 2, 3, 0, 2):  # those that were closed are opened again
        assert dataset.read_rows(f"{number}.parquet", 0)["number"].to_pylist() == [number]
    assert list(dataset._open) == ["0.parquet", "2.parquet"]
