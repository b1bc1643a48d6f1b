"""The whole job against a server that speaks S3: clips from there, data set to there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs
import torch
from support.datasets import flat_config
from support.servers import free_port, wait_for_answer

from icface.training.config import DataConfig
from pipelines.cluster import connect
from pipelines.dataset import Dataset
from pipelines.loading.pairs import PairBatches
from pipelines.preprocess.job import preprocess
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory):
    """A bucket's URL on a moto server of our own."""
    port = free_port()
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    # Another module's server may have been the endpoint of a file system that fsspec keeps.
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        wait_for_answer(settings["AWS_ENDPOINT_URL"], server, 400)
        Folder.at("s3://bucket/x").fs.mkdir("bucket")
        with connect("local", 2):
            yield "s3://bucket"
    finally:
        server.terminate()
        server.wait(timeout=300)
        log.close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def test_the_same_tables_as_on_a_local_disk(
    s3: str, sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "clips/ann/v"
    place.mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], place / "1.mp4")
    (place / "2.mp4").write_text("no video")
    remote = Folder.at(f"{s3}/clips")
    for name in ("1.mp4", "2.mp4"):
        remote.fs.put_file(str(place / name), remote.path(f"ann/v/{name}"))
    options = {"size": 32, "every": 6, "val_fraction": 0.0}
    here = preprocess(flat_config(source=str(tmp_path / "clips"), dataset=str(tmp_path / "data"), **options))
    config = flat_config(source=remote.url, dataset=f"{s3}/data", **options)
    there = preprocess(config)
    assert (there.clips, there.ok, there.failed) == (here.clips, here.ok, here.failed) == (2, 1, 1)
    one, other = Dataset.open(here.url), Dataset.open(there.url)
    for group in one.row_groups("train"):
        assert one.read(group).equals(other.read(group))
    assert preprocess(config).new_clips == 0
    names = Folder.at(f"{s3}/data").fs.find("bucket/data")
    assert names
    assert not [name for name in names if name.endswith(".tmp")]
    # A training reads it through a local folder, and the second time from there alone.
    options = {"config": DataConfig(batch_size=1), "schema": one.schema, "size": 32, "seed": 1, "steps": 2}
    expected = list(PairBatches(one, **options).batches())
    cache = RowCache(tmp_path / "cache", 10**8)
    for _ in range(2):
        cached = Dataset.open(there.url, cache)
        for a, b in zip(expected, PairBatches(cached, **options).batches(), strict=True):
            assert torch.equal(a.source, b.source)
            assert torch.equal(a.driving_encoded, b.driving_encoded)
        monkeypatch.delattr(Dataset, "_file", raising=False)
    local = Path(here.url, one.row_groups("train")[0].file)
    assert pq.read_metadata(local).num_rows == sum(group.rows for group in other.row_groups("train")) + sum(
        group.rows for group in other.row_groups("train", held_out=True)
    )
