"""Sources in other shapes than VoxCeleb's: deeper trees, unknown endings, names that are not text, stated splits."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.datasets import flat_config

from icface.errors import IcfaceError
from pipelines.preprocess.plan import make_plan
from pipelines.sources import ClipFiles, Leftovers, list_clips, stated_splits
from pipelines.sources.layouts.tree_names import TreeLayout
from pipelines.sources.leftovers import escaped, unescaped
from pipelines.storage import Folder

MEAD = ("M003/video/front/angry/level_1/001.mp4", "W009/video/left/angry/level_2/001.mp4")


def tree(root: Path, *paths: str) -> Folder:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return Folder.at(root)


def names(root: Folder, layout: str | None = None) -> list[str]:
    return [clip.clip for clip in list_clips(root, layout)]


@pytest.mark.parametrize(
    ("layout", "first"),
    [
        ("{identity}/video/{view}/...", "M003/front-angry-level_1/001"),
        ("{identity}/...", "M003/video-front-angry-level_1/001"),
        ("{identity}/video/{video}/{emotion}/{level}", "M003/front/angry-level_1-001"),
        ("/{identity}/*/{view}/{emotion}/*/", "M003/video-front-angry-level_1/001"),
    ],
)
def test_a_layout_says_which_folder_is_the_person(layout: str, first: str, tmp_path: Path) -> None:
    found = list_clips(tree(tmp_path, *MEAD), layout)
    assert found[0].clip == first
    assert [clip.identity for clip in found] == ["M003", "W009"]
    assert [clip.path for clip in found] == list(MEAD)


@pytest.mark.parametrize("path", [MEAD[0], "data/set/ann/v/1.mp4", "dev/a/ann/v/1.mp4"])
def test_a_deeper_tree_without_a_layout_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match=r"lies deeper than identity/video/clip.*--layout"):
        list_clips(tree(tmp_path, path))


def test_trees_that_are_no_deeper_need_no_layout(tmp_path: Path) -> None:
    paths = ("ann/v/1.mp4", "dev/mp4/bob/v/1.mp4", "test/mp4/cas/v/1.mp4", "dan/1.mp4", "eve.mp4")
    assert names(tree(tmp_path, *paths)) == ["ann/v/1", "bob/v/1", "cas/v/1", "dan/1/1", "eve/eve/eve"]


@pytest.mark.parametrize(
    "layout",
    ["{video}/...", "{identity}/{identity}", "{identity}/x{y}", "{identity}//{video}", "{identity}/{view}/{view}"],
)
def test_a_layout_that_makes_no_sense_is_refused(layout: str, tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="layout"):
        TreeLayout(layout)


def test_a_clip_that_does_not_fit_the_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match=r"extra/1\.mp4 does not fit"):
        list_clips(tree(tmp_path, *MEAD, "extra/1.mp4"), "{identity}/video/{view}/...")


def test_videos_of_any_ending_are_clips_and_the_rest_is_counted(sample_clips: dict[str, Path], tmp_path: Path) -> None:
    endings = (".flv", ".ts", ".m4v", ".wmv", ".3gp", ".MTS", ".ogv", ".mpeg")
    root = tree(tmp_path, *(f"ann/v/{number}{ending}" for number, ending in enumerate(endings)))
    shutil.copy(sample_clips["single_face.mp4"], tmp_path / "ann/v/video.dat")
    shutil.copy(sample_clips["single_face.mp4"], tmp_path / "ann/v/no_ending")
    tree(tmp_path, "ann/v/what.foo", "ann/v/Thumbs.db", "ann/v/0.wav", "ann/v/0.json", "README.md", "ann/v/odd")
    leftovers = Leftovers()
    found = list_clips(root, None, leftovers)
    assert len(found) == len(endings) + 2
    assert leftovers.endings == {".foo": 1, ".db": 1, "": 1}
    assert "3 files of no known kind" in leftovers.sentences()[0]


def test_a_link_that_leads_nowhere_is_a_clip_that_cannot_be_fetched(tmp_path: Path) -> None:
    root = tree(tmp_path, "ann/v/1.mp4")
    (tmp_path / "ann/v/2.mp4").symlink_to(".git/annex/objects/gone.mp4")
    clip = list_clips(root)[1]
    assert (clip.clip, clip.size) == ("ann/v/2", -1)
    with pytest.raises(OSError, match="No such file"):
        ClipFiles(root).path(clip, tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, "ann/v/1.mp4", "secret/v/1.mp4")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    plan = make_plan(flat_config(source="x", dataset="y"), root, Folder.at(tmp_path / "data"))
    assert plan.clips == 1
    assert plan.passed_over == ("1 folder cannot be read (secret)",)


def test_a_name_that_is_not_utf8_is_escaped_and_its_file_found(sample_clips: dict[str, Path], tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/Jos\xe9/v"
    Path(os.fsdecode(folder)).mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], folder + b"/1.mp4")
    root = tree(tmp_path, "Zoë/v/1.mp4")
    first, second = list_clips(root)
    assert first.clip == "Jos\\xe9/v/1"
    assert second.clip == "Zoë/v/1"
    (tmp_path / "scratch").mkdir()
    path = ClipFiles(root).path(first, tmp_path / "scratch")
    assert str(path).encode()
    assert path.read_bytes() == sample_clips["single_face.mp4"].read_bytes()


@pytest.mark.parametrize("name", [b"Jos\xe9", "Zoë".encode(), b"a\\xzz", b"\xff\xfe\\", b"plain", b"a\\x41"])
def test_escaping_is_undone(name: bytes) -> None:
    text = escaped(os.fsdecode(name))
    assert text.encode()
    assert os.fsencode(unescaped(text)) == name


def test_a_csv_says_the_split_and_identities_stay_text(tmp_path: Path) -> None:
    tree(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    (tmp_path / "list.csv").write_text(
        "path,identity,split\na.mp4,007,validation\nb.mp4,7,train\nc.mp4,8,TEST\nd.mp4,1e3,\n"
    )
    config = flat_config(source="x", dataset="y", val_fraction=0.9)
    plan = make_plan(config, Folder.at(tmp_path / "list.csv"), Folder.at(tmp_path / "data"))
    splits = {clip.identity: shard.split for shard in plan.shards for clip in shard.clips}
    assert splits == {"007": "val", "7": "train", "8": "test", "1e3": "train"}


@pytest.mark.parametrize(
    "data",
    [
        b"Path;Identity\na.mp4;ann\nb.mp4;bob, jr\n",
        '\ufeffpath,identity\r\na.mp4,ann\r\nb.mp4,"bob, jr"\r\n'.encode(),
        "path\tidentity\na.mp4\tann\nb.mp4\tbob, jr\n".encode("utf-16"),
    ],
)
def test_csv_files_as_spreadsheets_write_them(data: bytes, tmp_path: Path) -> None:
    tree(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.csv").write_bytes(data)
    clips = list_clips(Folder.at(tmp_path / "list.csv"))
    assert [(clip.identity, clip.path, clip.size) for clip in clips] == [("ann", "a.mp4", 1), ("bob, jr", "b.mp4", 1)]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("a.mp4,bob", "line 3: a.mp4 is of bob, and above of ann"),
        ("a.mp4,ann", "a.mp4 is listed twice; take one out"),
    ],
)
def test_a_file_is_of_one_person_and_listed_once(second: str, said: str, tmp_path: Path) -> None:
    tree(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(f"path,identity\na.mp4,ann\n{second}\n")
    with pytest.raises(IcfaceError, match=said):
        list_clips(Folder.at(tmp_path / "list.csv"))


def test_one_name_written_in_two_ways_is_one_person(tmp_path: Path) -> None:
    """macOS writes é as two letters, and others as one."""
    root = tree(tmp_path, "Jose\u0301/v/1.mp4", "Jos\u00e9/v/2.mp4")
    clips = list_clips(root)
    assert {clip.identity for clip in clips} == {"Jos\u00e9"}
    assert all(Path(ClipFiles(root).path(clip, tmp_path)).exists() for clip in clips)
    assert names(root, "{identity}/{video}") == ["Jos\u00e9/v/1", "Jos\u00e9/v/2"]


def test_moving_pictures_are_counted_and_covers_are_not(tmp_path: Path) -> None:
    root = tree(tmp_path, "ann/v/1.mp4")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for ending in ("gif", "webp"):
        frames[0].save(tmp_path / f"ann/v/moves.{ending}", save_all=True, append_images=frames[1:], loop=0)
        frames[0].save(tmp_path / f"ann/v/cover.{ending}")
    leftovers = Leftovers()
    assert len(list_clips(root, None, leftovers)) == 1
    assert leftovers.endings == {".gif": 1, ".webp": 1}


def test_splits_that_contradict_each_other_or_are_unknown_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "a.mp4", "b.mp4")
    table = tmp_path / "list.csv"
    table.write_text("path,identity,split\na.mp4,ann,val\nb.mp4,ann,train\n")
    with pytest.raises(IcfaceError, match="ann is in the splits"):
        stated_splits(list_clips(Folder.at(table)))
    table.write_text("path,identity,split\na.mp4,ann,holdout\n")
    with pytest.raises(IcfaceError, match="line 2: split 'holdout' is unknown"):
        list_clips(Folder.at(table))
