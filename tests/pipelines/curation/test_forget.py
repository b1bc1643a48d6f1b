import json
from pathlib import Path

import pytest

from icface.errors import IcfaceError
from pipelines.curation import forget as module
from pipelines.curation.forget import forget
from pipelines.dataset import Dataset
from pipelines.preprocess.job import preprocess
from pipelines.storage import Folder
from tests.pipelines.conftest import crowd_config


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_people_leave_every_table_and_only_their_shards_change(crowd: Path):
    data = crowd / "data"
    before = contents(data)
    hash_before = Dataset.open(str(data)).hash
    shards = Dataset.open(str(data)).clips().groupby("shard")["identity"].agg(set)
    assert any(len(people) > 1 for people in shards), "a shard of several people is what this is about"
    done = forget(str(data), identities=["bob"], clips=["cyd/v/2"])
    assert done.clips == ("bob/v/1", "bob/v/2", "cyd/v/2")
    assert done.hash_before == hash_before
    dataset = Dataset.open(str(data))
    assert dataset.hash != hash_before
    assert sorted(dataset.clips()["clip"]) == ["ann/v/1", "ann/v/2", "cyd/v/1"]
    assert set(dataset.index["clip"]) == {"ann/v/1", "ann/v/2", "cyd/v/1"}
    for group in dataset.row_groups("train"):
        assert set(dataset.read(group)["clip"].to_pylist()) == {group.clip}
    assert b"bob" not in b"".join(contents(data).values())
    untouched = [name for name, people in shards.items() if people == {"ann"}]
    for name in untouched:
        for path, data_ in before.items():
            if name in path:
                assert contents(data)[path] == data_


def test_a_later_run_obeys_and_a_fresh_one_with_the_list_is_equal_to_the_bit(crowd: Path):
    data = crowd / "data"
    forget(str(data), identities=["bob"])
    forget(str(data), clips=["ann/v/1"])
    assert preprocess(crowd_config(crowd)).new_clips == 0
    fresh = crowd / "fresh"
    (fresh / "data").mkdir(parents=True)
    (fresh / "clips").symlink_to(crowd / "clips")
    (fresh / "data/exclusions.json").write_bytes((data / "exclusions.json").read_bytes())
    assert preprocess(crowd_config(fresh)).clips == 3
    assert contents(fresh / "data") == contents(data)


def test_a_run_that_died_midway_is_finished_by_the_same_command(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    data = crowd / "data"
    rewrite = module._rewrite

    def die(*arguments) -> None:
        rewrite(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_rewrite", die)
    with pytest.raises(KeyboardInterrupt):
        forget(str(data), clips=["ann/v/1", "cyd/v/1"])
    with pytest.raises(IcfaceError, match="not finished"):
        Dataset.open(str(data))
    monkeypatch.setattr(module, "_rewrite", rewrite)
    forget(str(data), clips=["ann/v/1", "cyd/v/1"])
    assert sorted(Dataset.open(str(data)).clips()["clip"]) == ["ann/v/2", "bob/v/1", "bob/v/2", "cyd/v/2"]
    assert preprocess(crowd_config(crowd)).new_clips == 0


def test_another_may_leave_after_a_run_that_died_midway(crowd: Path, monkeypatch: pytest.MonkeyPatch):
    data = crowd / "data"
    shards = Dataset.open(str(data)).clips().set_index("clip")["shard"]
    first, second, *_ = shards.index[shards == shards.iloc[0]]

    def die(*arguments) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "remove_shard", die)
        forget(str(data), clips=[first])
    forget(str(data), clips=[second])
    assert set(Dataset.open(str(data)).clips()["clip"]) == set(shards.index) - {first, second}
    assert preprocess(crowd_config(crowd)).new_clips == 0


def test_an_unknown_name_changes_nothing(crowd: Path):
    data = crowd / "data"
    before = contents(data)
    with pytest.raises(IcfaceError, match="no dan, ann/v/9"):
        forget(str(data), identities=["dan", "ann"], clips=["ann/v/9"])
    assert contents(data) == before
    assert not (data / "exclusions.json").exists()


def test_nobody_leaves_while_another_command_writes(crowd: Path):
    data = crowd / "data"
    with Folder.at(data).alone(), pytest.raises(IcfaceError, match="another icface command is writing"):
        forget(str(data), identities=["bob"])
    assert not (data / "exclusions.json").exists()


def test_a_damaged_list_is_said_and_not_ignored(crowd: Path):
    (crowd / "data/exclusions.json").write_text(json.dumps({"identities": ["ann"]}))
    with pytest.raises(IcfaceError, match=r"exclusions.json is damaged"):
        preprocess(crowd_config(crowd))
