"""Data sets made of data sets: joined, filtered, split again; nothing is lost, and each is whole."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest
from support.datasets import flat_config

from icface.errors import IcfaceError
from orchestration.__main__ import main
from pipelines.curation.derive import merge, split, subset
from pipelines.curation.forget import forget
from pipelines.curation.verify import verify
from pipelines.dataset import Dataset
from pipelines.preprocess.job import preprocess


def frames(url: Path) -> pd.DataFrame:
    parts = [pd.read_parquet(path).assign(split=path.parent.name[6:]) for path in url.glob("frames/*/*.parquet")]
    return pd.concat(parts).sort_values(["clip", "frame"]).reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    columns = ["clip", "track", "frame", "image", "AU12", "pose_yaw", "held_out", "split"]
    return bool(one[columns].equals(other[columns]))


def test_two_halves_joined_are_the_whole(crowd: Path):
    data = crowd / "data"
    subset(str(data), str(crowd / "ann"), "identity = 'ann'")
    subset(str(data), str(crowd / "others"), "identity <> 'ann'")
    made = merge([str(crowd / "ann"), str(crowd / "others")], str(crowd / "all"))
    whole, joined = frames(data), frames(crowd / "all")
    assert same(whole, joined)
    assert set(frames(crowd / "ann")["identity"]) == {"ann"}
    assert made.clips == 6
    for name in ("ann", "others", "all"):
        assert verify(str(crowd / name)).problems == []
    before, after = Dataset.open(str(data)), Dataset.open(str(crowd / "all"))
    assert after.schema == before.schema
    assert (after.licence, after.analyzer) == ("test licence", before.analyzer)
    columns = ["clip", "sha256", "frames_kept", "baseline_AU12"]
    pd.testing.assert_frame_equal(after.clips()[columns], before.clips()[columns])


def test_a_subset_has_the_frames_that_meet_the_condition(crowd: Path):
    whole = frames(crowd / "data")
    middle = whole["AU25"].quantile(0.1)
    command = ["dataset", "subset", str(crowd / "data"), str(crowd / "part")]
    assert main([*command, "--where", f"AU25 > {middle} and split = 'train'"]) == 0
    part = frames(crowd / "part")
    wanted = whole[whole["AU25"] > middle]
    counts = wanted.groupby("clip").size()
    wanted = wanted[wanted["clip"].isin(counts[counts >= 8].index)]
    assert 0 < len(part) < len(whole)
    assert part[["clip", "frame"]].equals(wanted[["clip", "frame"]].reset_index(drop=True))
    assert verify(str(crowd / "part")).problems == []


def test_a_function_may_choose_the_frames(crowd: Path):
    subset(str(crowd / "data"), str(crowd / "part"), lambda table, split: table.filter(pc.greater(table["frame"], 5)))
    whole, part = frames(crowd / "data"), frames(crowd / "part")
    assert 0 < len(part) < len(whole) and part["frame"].min() == 6
    assert verify(str(crowd / "part")).problems == []


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("AU99 > 1", "AU99"),
        ("AU12 >", "syntax error"),
        ("AU12", "must be one condition"),
        ("clip in (select * from read_csv('/etc/passwd'))", "where"),
        ("AU12 > 100", "no frame is left"),
    ],
)
def test_conditions_that_make_no_sense_are_one_line(where: str, said: str, crowd: Path):
    with pytest.raises(IcfaceError, match=said) as raised:
        subset(str(crowd / "data"), str(crowd / "part"), where)
    assert "\n" not in str(raised.value)
    # Nothing is in the way of the next try.
    assert not list((crowd / "part").iterdir())


def test_people_change_sides_and_nothing_else_changes(small_dataset: Path, tmp_path: Path):
    split(str(small_dataset), str(tmp_path / "half"), 0.5, seed=3)
    before, after = frames(small_dataset), frames(tmp_path / "half")
    assert same(
        before.drop(columns=["split", "held_out"]).assign(split="", held_out=False),
        after.assign(split="", held_out=False),
    )
    assert not after[after["split"] == "val"]["held_out"].any()
    stayed = (before["split"] == "train") & (after["split"] == "train")
    assert before[stayed]["held_out"].equals(after[stayed]["held_out"])
    assert set(after["split"]) == {"train", "val"}
    assert verify(str(tmp_path / "half")).problems == []
    split(str(small_dataset), str(tmp_path / "all"), 1.0)
    assert set(frames(tmp_path / "all")["split"]) == {"val"}


def test_who_was_taken_out_stays_out(crowd: Path):
    subset(str(crowd / "data"), str(crowd / "ann"), "identity = 'ann'")
    subset(str(crowd / "data"), str(crowd / "others"), "identity <> 'ann'")
    forget(str(crowd / "others"), identities=["bob"])
    split(str(crowd / "others"), str(crowd / "again"), 0.0)
    made = json.loads((crowd / "again/exclusions.json").read_text())
    assert made["identities"] == ["bob"]
    # bob comes back in another data set, and is left out of what is joined.
    subset(str(crowd / "data"), str(crowd / "bob"), "identity = 'bob' or identity = 'ann'")
    merge([str(crowd / "again"), str(crowd / "bob")], str(crowd / "all"))
    assert set(frames(crowd / "all")["identity"]) == {"ann", "cyd"}
    assert verify(str(crowd / "all")).problems == []


def test_what_cannot_be_joined_is_said(crowd: Path):
    data, other = str(crowd / "data"), crowd / "other"
    shutil.copytree(data, other)
    meta = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(meta | {"crop": meta["crop"] | {"mode": "frame"}}))
    for second, said in ((data, "the clip ann/v/1 is in"), (str(other), "differ in crop")):
        with pytest.raises(IcfaceError, match=said):
            merge([data, second], str(crowd / "new"))
    with pytest.raises(IcfaceError, match="is not empty"):
        split(data, data, 0.1)


def test_clips_cannot_be_added_to_what_was_made_of_others(crowd: Path):
    subset(str(crowd / "data"), str(crowd / "ann"), "identity = 'ann'")
    with pytest.raises(IcfaceError, match="made by `icface dataset subset`"):
        preprocess(flat_config(source=str(crowd / "clips"), dataset=str(crowd / "ann"), size=32))
