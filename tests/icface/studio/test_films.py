"""The video and data tabs' side of the server."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyexiv2
import pytest
from support.studio_page import Page, run_page, tiny_model

from icface.arrays import Picture
from icface.bundle import save_bundle
from icface.images import encode_png
from icface.studio.film import FilmPlan
from icface.studio.resolvers import ModelChoice, Resolvers
from icface.studio.uploads import Limits
from icface.video.reading import read_windows

CSV = b"timestamp,AU12,AU25,pose_yaw\n" + b"".join(b"%.1f,%.1f,0.5,0.1\n" % (n / 10, n / 10) for n in range(10))


@pytest.fixture(scope="module")
def driver(page: Page) -> str:
    name = page.post("/api/drivers?model=first", CSV)["driver"]
    assert page.finished(f"/api/drivers/{name}")["state"] == "done"
    return name


def plan(portrait: str, driver: str, **more: object) -> dict:
    return {"model": "first", "portrait": portrait, "follows": {"mouth": driver}, **more}


def test_a_video_is_measured_in_the_background(page: Page, portrait: str, sample_clips: dict[str, Path]) -> None:
    name = page.post("/api/drivers?model=first", sample_clips["single_face.mp4"].read_bytes())["driver"]
    said = page.finished(f"/api/drivers/{name}")
    assert (said["state"], said["done"]) == ("done", said["total"])
    curves = page.post("/api/curves", plan(portrait, name))
    assert len(curves["timestamp"]) == said["total"] and max(curves["curves"]["AU12"]["before"]) > 0.5


def test_edits_of_the_curves(page: Page, portrait: str, driver: str) -> None:
    body = plan(
        portrait, driver, start=0.2, end=0.6, gain={"AU12": 2}, offset={"AU25": -0.25}, drawn={"AU12": {"1": 3}}
    )
    found = page.post("/api/curves", body)
    assert found["timestamp"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert found["curves"]["AU12"]["before"] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert found["curves"]["AU12"]["after"] == pytest.approx([0.4, 3, 0.8, 1.0, 1.2])
    assert found["curves"]["AU25"]["after"] == pytest.approx([0.25] * 5)
    # The pose follows nobody: the portrait's own, not the driver's 5.7 degrees.
    assert len(set(found["curves"]["yaw"]["after"])) == 1 and found["curves"]["yaw"]["after"][0] != pytest.approx(5.73)


def test_a_film_has_the_planned_frames_and_drives_again(page: Page, portrait: str, driver: str, tmp_path: Path) -> None:
    name = page.post("/api/films", plan(portrait, driver, end=0.4))["film"]
    assert page.finished(f"/api/films/{name}")["state"] == "done"
    status, headers, data = page.ask("GET", f"/api/films/{name}/film.mp4")
    assert status == 200 and headers["content-type"] == "video/mp4"
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(10)
        assert sum(1 for _ in container.decode(video=0)) == 5
    with pyexiv2.Image(str(path)) as image:
        assert image.read_xmp()["Xmp.iptcExt.DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    csv = page.ask("GET", f"/api/films/{name}/curves.csv")[2]
    table = pd.read_csv(io.BytesIO(csv))
    assert table["AU12"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4]) and table.notna().all().all()
    again = page.post("/api/drivers?model=first", csv)["driver"]
    assert page.finished(f"/api/drivers/{again}")["state"] == "done"


def test_a_film_keeps_the_times_of_its_driver(page: Page, portrait: str, tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.7, 0.75]
    csv = b"timestamp,AU12\n" + b"".join(b"%.2f,1\n" % time for time in times)
    driver = page.post("/api/drivers?model=first", csv)["driver"]
    assert page.finished(f"/api/drivers/{driver}")["state"] == "done"
    name = page.post("/api/films", plan(portrait, driver))["film"]
    assert page.finished(f"/api/films/{name}")["state"] == "done"
    path = tmp_path / "film.mp4"
    path.write_bytes(page.ask("GET", f"/api/films/{name}/film.mp4")[2])
    assert [time for window in read_windows(path) for time in window.times] == pytest.approx(times, abs=1e-3)


def test_a_clip_of_a_data_set_begins_with_the_film(page: Page, portrait: str, driver: str) -> None:
    clip = page.post("/api/libraries/noise/driver", {"clip": "id/v/2"})["driver"]
    follows = {"pose": driver, "mouth": clip}
    found = page.post("/api/curves", plan(portrait, driver, follows=follows, map_attributes=True))
    assert found["curves"]["AU12"]["before"][0] == pytest.approx(0) and max(found["curves"]["AU12"]["before"]) > 1.9
    trimmed = page.post("/api/curves", plan(portrait, clip, map_attributes=True, start=0.16, end=0.4))
    assert trimmed["timestamp"] == pytest.approx([0, 0.08, 0.16, 0.24])


def test_a_short_driver_that_is_relative_is_told(page: Page, portrait: str, driver: str) -> None:
    assert page.post("/api/curves", plan(portrait, driver))["notices"] == []
    found = page.post("/api/curves", plan(portrait, driver, relative=True))
    assert found["notices"] == ["picture is too short to tell its resting face: its first face is taken for it"]
    assert found["curves"]["AU25"]["before"] == pytest.approx([0.0] * 10)  # 0.5 all the time, less the first


def test_attributes_of_another_analyzer_are_converted_only_when_asked(page: Page, portrait: str) -> None:
    clip = page.post("/api/libraries/noise/driver", {"clip": "id/v/2"})["driver"]  # measured by dlib
    said = page.refused("POST", "/api/curves", plan(portrait, clip))
    assert "noise#id/v/2 was measured by dlib" in said and "tick the box" in said
    found = page.post("/api/curves", plan(portrait, clip, map_attributes=True))
    # The model does not say what it has seen, and ten frames tell no resting face: they stay.
    assert found["curves"]["AU12"]["before"][-1] == pytest.approx(2.0)
    assert "--mouth-from 'noise#id/v/2' --map-attributes" in found["command"]
    other = b"timestamp,AU12,analyzer\n" + b"".join(b"%.2f,1,openface\n" % (n / 25) for n in range(60))
    csv = page.post("/api/drivers?model=first", other)["driver"]
    assert page.finished(f"/api/drivers/{csv}")["state"] == "done"
    assert "measured by openface" in page.refused("POST", "/api/curves", plan(portrait, csv))
    found = page.post("/api/curves", plan(portrait, csv, map_attributes=True))
    assert found["curves"]["AU12"]["before"] == pytest.approx([0.0] * 60)  # less the resting face


def test_a_model_of_changes_alone_gets_the_driver_less_its_rest(face: Picture, tmp_path: Path) -> None:
    model = tiny_model(0)
    model.config = replace(model.config, baselines=True)
    save_bundle(model, tmp_path / "bundle")
    choice = ModelChoice(reference="first", label="the first")
    for page in run_page(Resolvers(models=lambda: [choice], bundle=lambda reference: tmp_path / "bundle")):
        portrait = page.post("/api/portraits", encode_png(face))["portrait"]
        rows = b"".join(b"%.2f,%d\n" % (n / 25, 1 + n // 40) for n in range(60))
        csv = page.post("/api/drivers?model=first", b"timestamp,AU12\n" + rows)["driver"]
        assert page.finished(f"/api/drivers/{csv}")["state"] == "done"
        found = page.post("/api/curves", plan(portrait, csv))
        assert found["curves"]["AU12"]["before"] == pytest.approx([0.0] * 40 + [1.0] * 20)


def test_commands() -> None:
    names = {"a": "one clip.mp4", "b": "b.csv"}
    everything = dict.fromkeys(("pose", "brows", "eyes", "nose", "mouth"), "a")
    assert FilmPlan(follows=everything, gain={"AU25": 1.5}, start=1).command("m", "p.png", names) == (
        "icface animate m p.png --drive 'one clip.mp4' --start 1 --scale AU25=1.5 --smooth never -o film.mp4"
    )
    assert FilmPlan(follows={"pose": "a", "mouth": "b"}).command("m", "p.png", names) == (
        "icface animate m p.png --pose-from 'one clip.mp4' --brows-from source --eyes-from source --nose-from source "
        "--mouth-from b.csv --smooth never -o film.mp4"
    )
    assert FilmPlan(follows=dict.fromkeys(everything, "b")).command("m", "p.png", names, face=1) == (
        "icface animate m p.png --face 2 --drive b.csv -o film.mp4"
    )
    drawn = FilmPlan(follows={"pose": "a"}, drawn={"AU12": {0: 1.0}})
    assert "--drive curves.csv" in drawn.command("m", "p.png", names)


def test_bad_drivers_are_refused_with_a_reason(page: Page, shared: Path) -> None:
    for data, said in (
        (b"", "empty"),
        ((shared / "bad" / "garbage.mp4").read_bytes(), "no frame can be decoded"),
        ((shared / "bad" / "text.mp4").read_bytes(), "not a table of attributes"),
        (b"a,b\n1,2\n", "not a table of attributes"),
        (b"\0\0\0\x18ftypisom" + bytes(400), "cannot be read as a video"),
    ):
        assert said in page.refused("POST", "/api/drivers?model=first", data)
    for data, said in (
        ((shared / "bad" / "no_face.mp4").read_bytes(), "no face is found"),
        (b"AU12,AU99\n1,2\n", "unknown column 'AU99'"),
        (b"AU12\nmuch\n", "not a number"),
    ):
        name = page.post("/api/drivers?model=first", data)["driver"]
        task = page.finished(f"/api/drivers/{name}")
        assert task["state"] == "failed" and said in task["error"]
        assert "/tmp" not in task["error"]


def test_bad_plans_are_refused_with_a_reason(page: Page, portrait: str, driver: str) -> None:
    for more, said in (
        ({"follows": {}}, "no region follows a driver"),
        ({"follows": {"ears": driver}}, "unknown region 'ears'"),
        ({"follows": {"mouth": "gone"}}, "not there any more"),
        ({"start": 5}, "nothing of the driver lies between"),
        ({"gain": {"AU14": 2}}, "AU14 cannot be set"),
        ({"drawn": {"AU12": {"99": 1}}}, "drawn at frame 99"),
    ):
        assert said in page.refused("POST", "/api/curves", plan(portrait, driver) | more)


def test_long_videos_and_temporary_files(
    resolvers: Resolvers, sample_clips: dict[str, Path], monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for page in run_page(resolvers, limits=Limits(video_seconds=1)):
        clip = sample_clips["single_face.mp4"].read_bytes()
        assert "lasts 2 s" in page.refused("POST", "/api/drivers?model=first", clip)
        page.post("/api/drivers?model=first", CSV)
        assert [path.suffix for path in tmp_path.rglob("driver-*")] == [".csv"]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_the_page_goes_on(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import json

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("icface.studio.routes_film.keep_driver", full)
        status, _, body = page.ask("POST", "/api/drivers?model=first", CSV)
    assert status == 507 and "the disk of this machine is full" in json.loads(body)["error"]
    page.post("/api/drivers?model=first", CSV)


def test_a_data_sets_clips(page: Page, face: Picture) -> None:
    assert page.get("/api/libraries/noise")["total"] == 2
    found = page.get("/api/libraries/noise?filter=AU12%20%3E%201.5")
    assert [clip["clip"] for clip in found["clips"]] == ["id/v/2"]
    clip = page.get("/api/libraries/noise/clip?clip=id/v/2&filter=AU12%20%3E%201.5")
    assert list(clip["curves"]) == ["AU12"]
    assert clip["matches"] == [value > 1.5 for value in clip["curves"]["AU12"]]
    status, _, data = page.ask("GET", "/api/libraries/noise/frame.png?clip=id/v/1&frame=4")
    assert status == 200 and data == encode_png(np.random.default_rng(4).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    portrait = page.post("/api/libraries/noise/portrait", {"clip": "id/v/1", "frame": 2})
    assert portrait["name"] == "id/v/1 frame 2"
    driver = page.post("/api/libraries/noise/driver", {"clip": "id/v/2"})["driver"]
    assert page.get(f"/api/drivers/{driver}")["seconds"] == pytest.approx(0.72)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/libraries/none", "no data set"),
        ("/api/libraries/noise?filter=AU12+is+big", "is not a filter"),
        ("/api/libraries/noise?filter=AU99%3E1", "unknown attribute 'AU99'"),
        ("/api/libraries/noise/clip?clip=id/v/9", "no clip 'id/v/9'"),
    ],
)
def test_bad_questions_about_data(page: Page, path: str, said: str) -> None:
    assert said in page.refused("GET", path)
