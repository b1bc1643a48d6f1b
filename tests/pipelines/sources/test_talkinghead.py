"""TalkingHead-1KH's lists, with videos of two people side by side, read to the rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from icface.errors import IcfaceError
from icface.video.reading import probe, read_frames
from icface.video.writing import write_video
from pipelines.config import PreprocessConfig
from pipelines.preprocess.clip_rows import clip_rows
from pipelines.preprocess.plan import make_plan
from pipelines.sources import ClipFiles, list_clips, read_span
from pipelines.sources.clip import Clip
from pipelines.storage import Folder

FPS, FRAMES = 30.0, 60
LEFT = "0,29,120,0,520,360"
RIGHT = "20,49,760,0,1160,360"
"""First and last frame and the box of each of two people, in frames of 1280 x 360."""


@pytest.fixture(scope="module")
def piece(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sample clips' people side by side."""
    halves = (np.concatenate([f for _, f in read_frames(path)][:3])[:FRAMES] for path in sample_clips.values())
    path = tmp_path_factory.mktemp("piece") / "piece.mp4"
    write_video(path, np.concatenate(list(halves), axis=2), fps=FPS)
    info = probe(path)
    assert (info.width, info.height, info.fps) == (1280, 360, FPS)
    return path


@pytest.fixture
def source(piece: Path, tmp_path: Path) -> Path:
    """Two clips of one piece for training, one of another for `val`, and a row without a video."""
    root = tmp_path / "talkinghead"
    (root / "data_list").mkdir(parents=True)
    # The box is told in pixels of frames twice as large: people fetch other sizes than the lists were made of.
    double = ",".join(["40,59", *(str(2 * int(number)) for number in RIGHT.split(",")[2:])])
    rows = [f"aB-_9_0000,360,1280,{LEFT}", f"aB-_9_0000, 720, 2560, {double}", f"gone_0003,360,1280,{LEFT}", ""]
    (root / "data_list/train_video_tubes.txt").write_text("\n".join(rows))
    (root / "data_list/val_video_tubes.txt").write_text(f"other_0001,360,1280,{RIGHT}\n")
    (root / "data_list/train_video_ids.txt").write_text("aB-_9\n")
    for place in ("train/1min_clips/aB-_9_0000.mp4", "val/1min_clips/other_0001.mp4", "train/raw_videos/aB-_9.mp4"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(piece, root / place)
    return root


def test_the_lists_name_the_clips(source: Path, caplog: pytest.LogCaptureFixture):
    found = list_clips(Folder.at(str(source)))
    assert [(clip.identity, clip.video, clip.split) for clip in found] == [
        ("aB-_9", "0000", "train"),
        ("aB-_9", "0000", "train"),
        ("other", "0001", "val"),
    ]
    assert {clip.path for clip in found} == {"train/1min_clips/aB-_9_0000.mp4", "val/1min_clips/other_0001.mp4"}
    assert "1 of the clips" in caplog.text
    config = PreprocessConfig(source=str(source), dataset=str(source.parent / "data"))
    plan = make_plan(config, Folder.at(str(source)), Folder.at(config.dataset))
    assert {(clip.identity, shard.split) for shard in plan.shards for clip in shard.clips} == {
        ("aB-_9", "train"),
        ("other", "val"),
    }


def test_a_clip_is_its_own_frames_and_its_own_person(source: Path, analyzer, tmp_path: Path):
    folder = Folder.at(str(source))
    config = PreprocessConfig.from_flat({"source": str(source), "dataset": str(tmp_path / "data"), "size": 32})
    spans = {}
    for clip in list_clips(folder):
        path = ClipFiles(folder).path(clip, tmp_path)
        made = clip_rows(path, clip, "train", config, analyzer, read_span(folder, clip))
        assert made.row["status"] == "ok", made.row["reason"]
        tables = list(made.tables)
        frames = [frame for table in tables for frame in table["frame"].to_pylist()]
        left = np.mean([x for table in tables for x in table["box_x"].to_pylist()])
        spans[clip.clip] = (min(frames), max(frames), left < 600)
    assert list(spans.values()) == [(0, 29, True), (40, 59, False), (20, 49, False)]


def test_what_was_cut_already_is_that_clip(source: Path):
    before = list_clips(Folder.at(str(source)))
    cut = source / "train/cropped_clips"
    cut.mkdir()
    shutil.copy(source / "train/1min_clips/aB-_9_0000.mp4", cut / "aB-_9_0000_S0_E29_L120_T0_R520_B360.mp4")
    after = list_clips(Folder.at(str(source)))
    assert [clip.clip for clip in after] == [clip.clip for clip in before]
    assert after[0].span is None
    assert after[0].path == "train/cropped_clips/aB-_9_0000_S0_E29_L120_T0_R520_B360.mp4"
    assert Clip.from_json(after[1].to_json()) == after[1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a_0000,360,640,0,29,120,0,520", "a name and eight whole numbers"),
        ("a_0000,360,640,0,x,120,0,520,360", "invalid literal"),
        ("a_0000,360,640,30,29,120,0,520,360", "must ascend"),
        ("a_0000,0,640,0,29,120,0,520,360", "must be positive"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(source: Path, row: str, said: str):
    (source / "data_list/train_video_tubes.txt").write_text(f"{row}\n")
    with pytest.raises(IcfaceError, match=f"train_video_tubes.txt, line 1 makes no sense: .*{said}"):
        list_clips(Folder.at(str(source)))
