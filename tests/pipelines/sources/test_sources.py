"""Which clips are found, who is on which side, and which shard they fall into."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icface.errors import IcfaceError
from pipelines.sources import Clip, assign_splits, group_clips, list_clips, official_test, shard_name
from pipelines.storage import Folder


def tree(folder: Path, *paths: str) -> Folder:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return Folder.at(folder)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dev/mp4/id1/vid/00001.mp4", "id1/vid/00001"),
        ("id1/vid/00001.mp4", "id1/vid/00001"),
        ("id1/00001.mp4", "id1/00001/00001"),
        ("alone.mp4", "alone/alone/alone"),
    ],
)
def test_names(tmp_path: Path, path: str, name: str):
    assert [clip.clip for clip in list_clips(tree(tmp_path, path))] == [name]


def test_other_files_are_no_clips(tmp_path: Path):
    assert len(list_clips(tree(tmp_path, "a/b/1.mp4", "a/b/1.txt", "a/b/notes.csv", "a/b/.hidden"))) == 1


def test_two_files_of_one_name(tmp_path: Path):
    with pytest.raises(IcfaceError, match="both clip a/b/1"):
        list_clips(tree(tmp_path, "a/b/1.mp4", "x/a/b/1.mp4"))


def test_official_test_set(tmp_path: Path):
    folder = tree(tmp_path, "dev/mp4/id1/v/1.mp4", "test/mp4/id2/v/1.mp4")
    (tmp_path / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set\nid1 ,n1 ,f ,dev\nid3 ,n3 ,m ,test\n"
    )
    assert official_test(folder, list_clips(folder)) == {"id2", "id3"}


@given(
    names=st.sets(st.text("abcdef0123", min_size=1, max_size=6), min_size=1, max_size=60),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_splits(names: set[str], fraction: float, seed: int):
    splits = assign_splits(names, fraction, seed)
    assert set(splits) == names
    assert "train" in splits.values()
    assert ("val" in splits.values()) == (fraction > 0 and len(names) >= 2)
    # Somebody who joins later moves nobody of a split that is not the smallest possible one.
    more = assign_splits(names | {"new"}, fraction, seed)
    if 1 < list(splits.values()).count("val") < len(names) - 1:
        assert all(more[name] == splits[name] for name in names)


def test_an_added_clip_changes_few_groups():
    clips = [Clip(f"id{n:03}/v/{m}", f"id{n:03}/v/{m}.mp4", 1) for n in range(60) for m in range(3)]
    before = {shard_name("train", group) for group in group_clips(clips, 5)}
    added = sorted([*clips, Clip("id030/v/9", "id030/v/9.mp4", 1)], key=lambda clip: clip.clip)
    after = {shard_name("train", group) for group in group_clips(added, 5)}
    assert len(before - after) <= 3
    assert sum(map(len, group_clips(added, 5))) == len(added)
    assert max(map(len, group_clips(clips, 5))) <= 10
