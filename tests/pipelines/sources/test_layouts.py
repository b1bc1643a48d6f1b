"""Every layout that clips come in, made of the two sample clips and read to the rows."""

import shutil
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from support.datasets import flat_config

from icface.analyzers import create
from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.images import encode_png
from icface.video.reading import probe, read_frames
from icface.video.writing import write_video
from pipelines.preprocess.clip_rows import clip_rows
from pipelines.preprocess.plan import make_plan
from pipelines.sources import ClipFiles, list_clips, official_test, read_span
from pipelines.storage import Folder

HEADER = "Identity  : \t{}\nReference : \t{}\nOffset    : \t0\nFV Conf   : \t17.9\t(0.97)\nASD Conf  : \t4.8\n\n"


@pytest.fixture(scope="module")
def analyzer():
    analyzer = create("mediapipe")
    yield analyzer
    analyzer.close()


@pytest.fixture(scope="module")
def two_people(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full video of 720p and 30 fps in which both sample clips' people stand side by side, 60 frames."""
    left, right = (
        np.concatenate([frames for _, frames in read_frames(path)][:3])[:60] for path in sample_clips.values()
    )
    path = tmp_path_factory.mktemp("full") / "full.mp4"
    write_video(path, np.concatenate([left, right], axis=2), fps=30.0)
    info = probe(path)
    assert (info.width, info.height, info.fps) == (1280, 360, 30.0)
    return path


@pytest.fixture(scope="module")
def boxes(two_people: Path, analyzer) -> np.ndarray:
    """(2, 60, 4) box of each person in each frame, found by looking at the halves alone."""
    whole = np.concatenate([frames for _, frames in read_frames(two_people)])
    halves = [np.ascontiguousarray(whole[:, :, 640 * side : 640 * (side + 1)]) for side in (0, 1)]
    found = [[faces[0].box for faces in analyzer.analyze(half, range(60), "x/y/z")] for half in halves]
    return np.array(found) + np.array([[[0, 0, 0, 0]], [[640, 0, 0, 0]]])


def write_track(path: Path, frames: np.ndarray, boxes: np.ndarray, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    identity, video = path.parts[-3:-1]
    rows = "".join(
        f"{int(n):06d} \t" + " \t".join(form.format(v) for v in box) + " \n"
        for n, box in zip(frames, boxes, strict=True)
    )
    path.write_text(HEADER.format(identity, video) + "FRAME \tX \tY \tW \tH \n" + rows)


def rows_of(source: Folder, analyzer, scratch: Path, **options):
    """The row of `clips` and the table of each clip of a source, by name."""
    config = flat_config(source=str(source.url), dataset="unused", size=32, **options)
    files = ClipFiles(source)
    found = {}
    for clip in list_clips(source):
        path = files.path(clip, scratch)
        result = clip_rows(path, clip, "val", config, analyzer, read_span(files.folder, clip))
        found[clip.clip] = (result.row, list(result.tables))
    return found


@pytest.mark.parametrize("kind", ["pixels", "fractions"])
def test_tracks_cut_the_span_and_the_face_out_of_a_full_video(
    kind: str, two_people: Path, analyzer, boxes, tmp_path: Path
):
    """Frames 15 to 44 of the video at 30 fps are 12.5 to 37.5 of the track at 25: its rows 13 to 37."""
    source = tmp_path / "vox"
    (source / "videos").mkdir(parents=True)
    shutil.copy(two_people, source / "videos/AbC-_123.mp4")
    height = 360
    frames = np.arange(13, 38)
    for side, identity in ((0, "id10001"), (1, "id10002")):
        found = boxes[side][np.round(frames * 30 / 25).astype(int)]
        scale = [360 / height] * 4 if kind == "pixels" else [1 / 1280, 1 / height, 1 / 1280, 1 / height]
        write_track(source / f"txt/{identity}/AbC-_123/00001.txt", frames, found * scale, "{:.6f}")
    found = rows_of(Folder.at(source), analyzer, tmp_path, max_several_faces=0.0)
    assert set(found) == {"id10001/AbC-_123/00001", "id10002/AbC-_123/00001"}
    for side, (row, tables) in enumerate(found.values()):
        assert row["status"] == "ok", row["reason"]
        assert row["path"] == "videos/AbC-_123.mp4"
        # 13 / 25 s is frame 15.6, 38 / 25 s is frame 45.6.
        assert tables[0]["frame"].to_pylist() == list(range(16, 46))
        assert row["frames_read"] == row["frames_kept"] == 30
        assert row["seconds"] == pytest.approx(1.0)
        assert np.allclose(tables[0]["timestamp"], np.arange(16, 46) / 30, atol=1e-5)
        centre = tables[0]["box_x"].to_numpy() + tables[0]["box_w"].to_numpy() / 2
        assert ((centre > 640 * side) & (centre < 640 * (side + 1))).all()
        crops = np.stack([tables[0][name].to_numpy() for name in ("crop_x", "crop_y", "crop_size")], axis=1)
        assert (crops[:, 0] <= tables[0]["box_x"].to_numpy()).all()
        expected = boxes[side][16:46]
        measured = np.stack([tables[0][f"box_{name}"].to_numpy() for name in "xywh"], axis=1)
        assert np.abs(measured - expected).max() < 0.05 * expected[:, 3].mean()


def test_pixels_of_a_360_high_frame_fit_a_video_of_any_height(two_people: Path, analyzer, boxes, tmp_path: Path):
    source = tmp_path / "vox"
    (source / "txt/id10001").mkdir(parents=True)
    frames = np.concatenate([frames for _, frames in read_frames(two_people)])
    tall = np.repeat(np.repeat(frames[:20], 2, axis=1), 2, axis=2)
    write_video(source / "txt/id10001/AbC.mp4", tall, fps=25.0)
    # Every second frame alone is in the file: those between lie between.
    write_track(source / "txt/id10001/AbC/00007.txt", np.arange(0, 20, 2), boxes[0][:20:2], "{:.1f}")
    row, tables = rows_of(Folder.at(source), analyzer, tmp_path)["id10001/AbC/00007"]
    assert (row["status"], row["frames_kept"]) == ("ok", 19)
    assert tables[0]["box_h"].to_numpy().mean() == pytest.approx(2 * boxes[0][:20, 3].mean(), 0.05)


def test_a_track_without_a_video_is_left_out_and_counted(two_people: Path, tmp_path: Path, caplog):
    source = tmp_path / "vox"
    for place in ("full/id1/one.mp4", "full/id2/two/whatever.mp4", "mp4/id3/four/00001.mp4", "mp4/id9/x/00001.mp4"):
        (source / place).parent.mkdir(parents=True)
        (source / place).symlink_to(two_people)
    for place in ("id1/one/00001", "id1/one/00002", "id2/two/00001", "id2/three/00001", "id3/four/00001"):
        write_track(source / f"txt/{place}.txt", np.arange(5), np.ones((5, 4)) * 30, "{}")
    clips = {clip.clip: clip for clip in list_clips(Folder.at(source))}
    assert set(clips) == {"id1/one/00001", "id1/one/00002", "id2/two/00001", "id3/four/00001", "id9/x/00001"}
    assert clips["id1/one/00002"].path == "full/id1/one.mp4"
    # Cut already: the file is the clip.
    assert not clips["id3/four/00001"].span
    assert "1 of 4 tracks have no video" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "is not a track"),
        ("FRAME X Y W H\n", "is not a track"),
        ("FRAME X Y W H\n1 2 3 4\n", "is not a track"),
        ("FRAME X Y W H\n5 1 1 9 9\n4 1 1 9 9\n", "must ascend"),
        ("FRAME X Y W H\n5 1 1 0 9\n", "without width"),
        ("FRAME X Y W H\n5 nan 1 9 9\n", "must ascend"),
        ("FRAME X Y W H\n1 3000 10 50 50\n", "outside its frames"),
        ("FRAME X Y W H\n1 30 10 50 50\n200 30 10 50 50\n", "the video ends at 1.97 s, its track at 8.04 s"),
        ("FRAME X Y W H\n500 30 10 50 50\n", "no frame can be decoded"),
    ],
)
def test_a_bad_track_fails_its_clip_alone(text: str, said: str, two_people: Path, analyzer, tmp_path: Path):
    (tmp_path / "vox/txt/id1/AbC").mkdir(parents=True)
    shutil.copy(two_people, tmp_path / "vox/AbC.mp4")
    (tmp_path / "vox/txt/id1/AbC/1.txt").write_text(text)
    source = Folder.at(tmp_path / "vox")
    clip = list_clips(source)[0]
    try:
        span = read_span(source, clip)
    except IcfaceError as error:
        assert said in str(error)
        return
    config = flat_config(source="x", dataset="y", size=32)
    row = clip_rows(tmp_path / "vox/AbC.mp4", clip, "train", config, analyzer, span).row
    assert row["status"] == "failed"
    assert said in row["reason"]


METADATA = """video_id,start,end,bbox,fps,width,height,partition,person_id
AbC,0,20,{left}-{top}-{right}-{bottom},25.0,640,180,train,id10001
AbC,10,40,{left}-{top}-{right}-{bottom},25.0,640,180,train,id10001
Gone,0,20,10-10-60-60,25.0,640,360,test,id10270
"""


@pytest.mark.parametrize("given", ["folder", "table"])
def test_first_order_models_table(given: str, two_people: Path, analyzer, boxes, tmp_path: Path):
    """Boxes in pixels of another size than the video that was downloaded, frames at another rate."""
    source = tmp_path / "fomm"
    (source / "videos").mkdir(parents=True)
    shutil.copy(two_people, source / "videos/AbC.mp4")
    x, y, w, h = boxes[1][:48].mean(axis=0) / 2
    edges = {"left": x - w / 2, "top": y - h / 4, "right": x + 1.5 * w, "bottom": y + 1.25 * h}
    text = METADATA.format(**{name: int(max(0, value)) for name, value in edges.items()})
    (source / "vox-metadata.csv").write_text(text)
    url = Folder.at(source if given == "folder" else source / "vox-metadata.csv")
    found = rows_of(url, analyzer, tmp_path, max_several_faces=0.0)
    assert set(found) == {"id10001/AbC/000000-000020", "id10001/AbC/000010-000040"}
    for (row, tables), frames in zip(found.values(), (range(24), range(12, 48)), strict=True):
        assert row["status"] == "ok", row["reason"]
        assert tables[0]["frame"].to_pylist() == list(frames)
        assert (tables[0]["box_x"].to_numpy() > 640).all()
    assert official_test(url, list_clips(url)) == {"id10270"}


def test_rows_of_the_table_that_make_no_sense(two_people: Path, tmp_path: Path):
    shutil.copy(two_people, tmp_path / "AbC.mp4")
    header = METADATA.splitlines()[0]
    for row in ("AbC,9,3,1-2-30-40,25,640,360,train,id1", "AbC,0,3,1-2-30,25,640,360,train,id1", "AbC,0,3"):
        (tmp_path / "vox-metadata.csv").write_text(f"{header}\n{row}\n")
        with pytest.raises(IcfaceError, match="line 2"):
            list_clips(Folder.at(tmp_path))


def test_first_order_models_folders_of_pictures(sample_clips: dict[str, Path], analyzer, tmp_path: Path):
    name = "id10283#zBqQEBk0mAU#001532#001715.mp4"
    other = "id10270#5r0dWxy17C8#000001#000012.mp4"
    frames = np.concatenate([frames for _, frames in read_frames(sample_clips["single_face.mp4"])][:1])[:12]
    for folder in (f"train/{name}", f"test/{other}"):
        (tmp_path / "vox" / folder).mkdir(parents=True)
        for number, frame in enumerate(frames):
            (tmp_path / "vox" / folder / f"{number:07d}.png").write_bytes(encode_png(frame))
    source = Folder.at(tmp_path / "vox")
    found = rows_of(source, analyzer, tmp_path)
    assert set(found) == {"id10270/5r0dWxy17C8/000001-000012", "id10283/zBqQEBk0mAU/001532-001715"}
    assert official_test(source, list_clips(source)) == {"id10270"}
    row, tables = found["id10283/zBqQEBk0mAU/001532-001715"]
    assert (row["status"], row["frames_kept"], row["fps"], row["width"]) == ("ok", 12, 25.0, 640)
    # PNGs lose nothing: the same labels as of the video itself.
    same = [faces[0] for faces in analyzer.analyze(frames, range(12), "x/y/z")]
    assert np.allclose(
        tables[0]["AU25"].to_numpy(), [face.attributes[ATTRIBUTE_NAMES.index("AU25")] for face in same], atol=1e-6
    )
    broken = tmp_path / f"vox/train/{name}/0000005.png"
    broken.write_bytes(broken.read_bytes()[:100])
    row, _ = rows_of(source, analyzer, tmp_path)["id10283/zBqQEBk0mAU/001532-001715"]
    assert row["status"] == "failed"
    assert "0000005.png" in row["reason"]


def test_pictures_beside_videos_are_covers(sample_clips: dict[str, Path], tmp_path: Path):
    for place in ("ann/v/1.mp4", "ann/v/2.png", "ann/cover.png", "bob/v/clip/0001.jpg", "3.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    assert [clip.path for clip in list_clips(Folder.at(tmp_path))] == ["ann/v/1.mp4", "bob/v/clip"]


def test_texts_are_no_clips_however_they_are_written(tmp_path: Path):
    for place in ("README.TXT", "ann/v/1.mp4", "ann/v/LICENSE.TXT", "bob/v/clip/0001.jpg", "bob/v/clip/NOTES.TXT"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    assert [clip.path for clip in list_clips(Folder.at(tmp_path))] == ["ann/v/1.mp4", "bob/v/clip"]


def test_a_csv_of_paths_and_identities(sample_clips: dict[str, Path], analyzer, tmp_path: Path):
    folder = tmp_path / "somewhere"
    folder.mkdir()
    shutil.copy(sample_clips["single_face.mp4"], folder / "a.mp4")
    far = tmp_path / "far/away/b.mp4"
    far.parent.mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], far)
    fsspec.filesystem("memory").put(str(far), "/bucket/talk/c.mp4")
    table = folder / "clips.csv"
    table.write_text(
        f"path, identity, video, note\na.mp4, ann, first, x\n{far}, bob,, x\n"
        "memory://bucket/talk/c.mp4, cyd,, x\nlost.mp4, dan,, x,,\n"
    )
    source = Folder.at(table)
    clips = list_clips(source)
    assert [clip.clip for clip in clips] == ["ann/first/a", "bob/away/b", "cyd/talk/c", "dan/lost/lost"]
    assert [clip.size for clip in clips] == [far.stat().st_size] * 3 + [-1]
    files = ClipFiles(source)
    for clip in clips[:3]:
        assert files.path(clip, tmp_path).read_bytes() == far.read_bytes()
    with pytest.raises(OSError):
        files.path(clips[3], tmp_path)
    plan = make_plan(
        flat_config(source=str(table), dataset=str(tmp_path / "data")), source, Folder.at(tmp_path / "data")
    )
    assert plan.clips == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,who\na.mp4,ann\n", "has the columns file, who"),
        ("", "an empty file"),
        ("path,identity\na.mp4,\n", "line 2"),
        ("path,identity\na.mp4\n", "line 2"),
        ("path,identity\ntalk,1.mp4,ann\n", "line 2: 3 cells, the heading has 2"),
        ("path,identity\n../a.mp4,ann\n", "leaves"),
        ("path,identity\nx/a.mp4,ann\ny/x/a.mp4,ann\n", "both clip ann/x/a"),
        ("path,identity\n", "holds no clips"),
    ],
)
def test_a_csv_that_is_none(text: str, said: str, tmp_path: Path):
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(IcfaceError, match=said):
        list_clips(Folder.at(tmp_path / "clips.csv"))


def test_remote_sources_list_and_fetch_the_same(two_people: Path, analyzer, boxes, tmp_path: Path):
    """Tracks, pictures and a table on a store that is not a disk."""
    here = tmp_path / "here"
    (here / "full").mkdir(parents=True)
    shutil.copy(two_people, here / "full/AbC.mp4")
    write_track(here / "txt/id1/AbC/00001.txt", np.arange(10), boxes[0][:10], "{:.3f}")
    write_track(here / "txt/id1/AbC/00002.txt", np.arange(10, 20), boxes[0][10:20], "{:.3f}")
    (here / "dev/id2/v/clip").mkdir(parents=True)
    for number in range(10):
        frame = next(read_frames(two_people, window=1))[1][0][:, :640]
        (here / f"dev/id2/v/clip/{number}.png").write_bytes(encode_png(frame))
    store = fsspec.filesystem("memory")
    store.put(str(here), "/layouts", recursive=True)
    there = Folder.at("memory://layouts")
    assert list_clips(there) == list_clips(Folder.at(here))
    (tmp_path / "scratch").mkdir()
    remote = rows_of(there, analyzer, tmp_path / "scratch")
    local = rows_of(Folder.at(here), analyzer, tmp_path)
    assert len(remote) == 3
    for name, (row, tables) in local.items():
        assert remote[name][0] == row
        assert all(one.equals(other) for one, other in zip(tables, remote[name][1], strict=True))


def test_tracks_and_openface_files_do_not_go_together(two_people: Path, tmp_path: Path):
    shutil.copy(two_people, tmp_path / "AbC.mp4")
    write_track(tmp_path / "txt/id1/AbC/00001.txt", np.arange(10), np.ones((10, 4)) * 30, "{}")
    config = flat_config(source=str(tmp_path), dataset=str(tmp_path / "data"), analyzer="openface")
    with pytest.raises(IcfaceError, match="cut the clips first"):
        make_plan(config, Folder.at(tmp_path), Folder.at(tmp_path / "data"))


def test_a_changed_track_is_another_shard(two_people: Path, tmp_path: Path):
    shutil.copy(two_people, tmp_path / "AbC.mp4")
    config = flat_config(source=str(tmp_path), dataset=str(tmp_path / "data"))
    names = set()
    for frames in (10, 12):
        write_track(tmp_path / "txt/id1/AbC/00001.txt", np.arange(frames), np.ones((frames, 4)) * 30, "{}")
        names.add(make_plan(config, Folder.at(tmp_path), Folder.at(tmp_path / "data")).shards[0].name)
    assert len(names) == 2


def test_a_span_holds_the_frames_of_plain_decoding(sample_clips: dict[str, Path]):
    path = sample_clips["single_face.mp4"]
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    fps = probe(path).fps
    found = {}
    for indices, frames in read_frames(path, every=3, window=4, span=(10 / fps, 31 / fps)):
        found |= dict(zip(indices, frames, strict=True))
    assert list(found) == list(range(10, 31, 3))
    assert all(np.array_equal(frame, expected[index]) for index, frame in found.items())
