"""Local copies of row groups: the same rows, a bounded folder, several processes at once."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch

from icface.errors import IcfaceError
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.loading.pairs import PairBatches
from pipelines.row_cache import RowCache

KILOBYTE = pa.table({"image": pa.array([bytes(1000)])})


def copies(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.arrow"))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in copies(folder))


def one_copy(folder: Path) -> int:
    """Bytes that a copy of `KILOBYTE` takes."""
    RowCache(folder, 10**6).put("x/0.arrow", KILOBYTE)
    return size(folder)


@pytest.fixture
def far(small_dataset: Path):
    """The small data set on another file system than the disk."""
    fs = fsspec.filesystem("memory")
    fs.put(f"{small_dataset}/", "memory://far/data", recursive=True)
    yield "memory://far/data"
    fs.rm("/far", recursive=True)


def test_a_training_gets_the_same_batches_and_reads_each_row_group_once(
    small_dataset: Path, far: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    near = Dataset.open(str(small_dataset))
    cache = RowCache(tmp_path / "cache", 10**9)
    options = {"config": DataConfig(batch_size=2), "schema": near.schema, "size": 32, "seed": 3, "steps": 10}
    expected = list(PairBatches(near, **options).batches())
    fetched = []
    read = Dataset._file
    monkeypatch.setattr(Dataset, "_file", lambda data, name: fetched.append(name) or read(data, name))
    for _ in range(2):  # the second time by what another process may have left
        for one, other in zip(expected, PairBatches(Dataset.open(far, cache), **options).batches(), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
    assert len(fetched) == len(copies(cache.folder)) == len(near.row_groups("train"))
    assert not list(cache.folder.rglob("*.tmp"))


def test_columns_and_data_sets_are_kept_apart(tmp_path: Path):
    cache = RowCache(tmp_path, 1)
    names = {
        cache.name(dataset, file, ordinal, columns)
        for dataset in ("a" * 64, "b" * 64)
        for file in ("f", "g")
        for ordinal in (0, 1)
        for columns in (None, ["image"], ["image", "frame"])
    }
    assert len(names) == 24


def test_the_folder_stays_within_its_limit_and_keeps_what_was_used_last(tmp_path: Path):
    each = one_copy(tmp_path / "one")
    cache = RowCache(tmp_path / "cache", 10 * each)
    cache.prepare()
    for number in range(10):
        cache.put(f"x/{number}.arrow", KILOBYTE)
        os.utime(cache.folder / f"x/{number}.arrow", (1000 + number, 1000 + number))
    assert len(copies(cache.folder)) == 10
    assert cache.get("x/0.arrow").equals(KILOBYTE)
    cache.put("x/10.arrow", KILOBYTE)
    kept = {path.stem for path in copies(cache.folder)}
    assert kept == {"0", *map(str, range(3, 11))}
    assert int((cache.folder / "bytes").read_text()) == size(cache.folder) <= cache.limit


def test_a_row_group_larger_than_the_folder_is_not_kept(tmp_path: Path):
    cache = RowCache(tmp_path, 100)
    cache.put("x/0.arrow", KILOBYTE)
    assert copies(tmp_path) == []
    assert cache.get("x/0.arrow") is None


def test_many_at_once_stay_within_the_limit(tmp_path: Path):
    each = one_copy(tmp_path / "one")
    cache = RowCache(tmp_path / "cache", 12 * each)
    cache.prepare()

    def work(number: int) -> None:
        name = f"x/{number % 20}.arrow"
        found = cache.get(name)
        assert found is None or found.equals(KILOBYTE)
        cache.put(name, KILOBYTE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert each <= size(cache.folder) <= cache.limit
    assert int((cache.folder / "bytes").read_text()) == size(cache.folder)
    assert not list(cache.folder.rglob("*.tmp"))


def test_half_a_copy_is_none_and_goes(tmp_path: Path):
    cache = RowCache(tmp_path, 10**6)
    cache.put("x/0.arrow", KILOBYTE)
    path = tmp_path / "x/0.arrow"
    path.write_bytes(path.read_bytes()[:300])
    assert cache.get("x/0.arrow") is None
    assert not path.exists()


def test_what_a_killed_process_left_goes_when_room_is_made(tmp_path: Path):
    cache = RowCache(tmp_path, 2 * one_copy(tmp_path / "x0"))
    shutil.rmtree(tmp_path / "x0")
    left, fresh = tmp_path / "x/1.arrow.aa.tmp", tmp_path / "x/2.arrow.bb.tmp"
    left.parent.mkdir()
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    for number in range(3):
        cache.put(f"x/{number}.arrow", KILOBYTE)
    assert not left.exists()
    assert fresh.exists()


def test_a_full_disk_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.row_cache.os.replace", full)
    cache = RowCache(tmp_path, 10**6)
    cache.put("x/0.arrow", KILOBYTE)
    assert cache.get("x/0.arrow") is None
    assert "No space left" in caplog.text
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_cannot_be_made_is_one_line(small_dataset: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IcfaceError, match=r"--cache .*file/cache cannot be written: Not a directory") as caught:
        Dataset.open(str(small_dataset), RowCache(tmp_path / "file/cache", 10**6))
    assert "\n" not in str(caught.value)


def test_a_mapped_copy_outlives_its_file(tmp_path: Path):
    cache = RowCache(tmp_path, 10**6)
    cache.put("x/0.arrow", KILOBYTE)
    table = cache.get("x/0.arrow")
    shutil.rmtree(tmp_path / "x")
    assert np.frombuffer(table["image"][0].as_buffer(), np.uint8).sum() == 0
