"""A portrait that follows a film: the server's side. A film of the sample clip stands for the camera."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyexiv2
import pytest
from support.studio_page import Page, run_page

from icface.analyzers.face import Face
from icface.arrays import Picture
from icface.attributes import ATTRIBUTE_NAMES
from icface.bundle import load_bundle
from icface.control import apply_edits
from icface.images import decode_image
from icface.studio.live import LiveRow
from icface.studio.resolvers import LiveSetting, ModelChoice, Resolvers
from icface.video.camera import LiveFrame, camera_frames
from icface.video.reading import read_frames

PATIENCE = 300.0
"""Seconds before a test gives up; none waits so long."""


def setting(face: Picture, shown: list[Picture], **more: object) -> LiveSetting:
    """The sample's frames for ever, without waiting; edits leave everything as it is."""

    def endless() -> Iterator[LiveFrame]:
        for index in range(10**6):
            yield LiveFrame(index / 25, index, shown[index % len(shown)])

    values = {"model": "first", "portrait": face, "name": "me.png", "driver": "film.mp4", "frames": endless}
    return LiveSetting(**{**values, "edit": lambda row, own: row, **more})


@pytest.fixture(scope="module")
def frames(sample_clips: dict[str, Path]) -> list[Picture]:
    return list(next(read_frames(sample_clips["single_face.mp4"], window=8))[1])


def page_with(live: LiveSetting, bundles: dict[str, Path]) -> Iterator[Page]:
    choice = ModelChoice(reference="first", label="the first")
    yield from run_page(Resolvers(models=lambda: [choice], bundle=bundles.__getitem__, live=live))


def newest(page: Page, after: int) -> tuple[int, bytes]:
    for _ in range(100):
        status, headers, data = page.ask("GET", f"/api/live/picture.jpg?after={after}")
        if status == 200:
            assert headers["content-type"] == "image/jpeg"
            return int(headers["x-number"]), data
        assert status == 204
    raise AssertionError(page.get("/api/live"))


def test_the_portrait_follows_until_it_is_stopped(
    face: Picture, frames: list[Picture], bundles: dict[str, Path]
) -> None:
    for page in page_with(setting(face, frames), bundles):
        first, data = newest(page, 0)
        second, other = newest(page, first)
        assert second > first
        # Driver and result side by side, and marked as partly synthetic.
        assert decode_image(data).shape[0] == 256 and decode_image(data).shape[1] > 400
        with pyexiv2.ImageData(data) as image:
            assert image.read_xmp()["Xmp.iptcExt.DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
        said = page.get("/api/live")
        assert said["state"] == "working" and said["rate"] > 0 and said["error"] == ""
        assert page.get("/api/state")["live"]["name"] == "me.png"
        assert page.post("/api/live/stop", {})["state"] == "stopped"
        last, _ = newest(page, 0)
        assert page.ask("GET", f"/api/live/picture.jpg?after={last}")[0] == 204
        assert page.post("/api/live/start", {})["state"] == "working"
        assert newest(page, last)[0] > last
        assert (decode_image(other) != 0).any()


def test_edits_show_and_a_lost_face_is_told(face: Picture, frames: list[Picture], bundles: dict[str, Path]) -> None:
    seen: list[pd.DataFrame] = []
    schema = load_bundle(bundles["first"]).config.schema

    def edit(row: pd.DataFrame, own: dict[str, float]) -> pd.DataFrame:
        seen.append(apply_edits(row, schema, own, set={"AU12": 4.0}))
        return seen[-1]

    dark = [np.zeros_like(frames[0])]
    for page in page_with(setting(face, frames, edit=edit, layout=("result",)), bundles):
        _, data = newest(page, 0)
        assert decode_image(data).shape == (32, 32, 3)
        assert seen[0]["AU12"].tolist() == [4.0] and np.isfinite(seen[0]["pose_yaw"][0])
    for page in page_with(setting(face, dark), bundles):
        deadline = time.monotonic() + PATIENCE
        while not page.get("/api/live")["error"] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "no face" in page.get("/api/live")["error"]


def test_a_camera_that_is_not_there_is_told(face: Picture, bundles: dict[str, Path]) -> None:
    live = setting(face, [face], frames=lambda: camera_frames("camera:63"))
    for page in page_with(live, bundles):
        deadline = time.monotonic() + PATIENCE
        while page.get("/api/live")["state"] == "working" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "no camera answers there" in page.get("/api/live")["error"]
        assert page.get("/api/state")["models"]  # the page goes on


def test_rows_are_relative_to_the_first_face() -> None:
    def seen(value: float) -> Face:
        attributes = np.full(len(ATTRIBUTE_NAMES), value, np.float32)
        return Face(landmarks=np.zeros((68, 2), np.float32), attributes=attributes, confidence=1.0)

    row = LiveRow(relative=True)
    assert row(0.0, seen(1.0))["AU12"].tolist() == [0.0]
    second = row(10.0, seen(2.0))  # so late that the filter follows at once
    assert second["AU12"][0] == pytest.approx(1.0, abs=0.05)
    assert second["pose_yaw"][0] == pytest.approx(2.0, abs=0.1)
    third = row(20.0, seen(0.5))
    assert third["AU12"].tolist() == [0.0] and third["pose_pitch"][0] < 0


def test_words_of_a_failure_stay_in_the_log(face: Picture, bundles: dict[str, Path]) -> None:
    def broken() -> Iterator[LiveFrame]:
        raise RuntimeError("/home/somebody/secret.mp4 is broken")
        yield

    for page in page_with(setting(face, [face], frames=broken), bundles):
        deadline = time.monotonic() + PATIENCE
        while page.get("/api/live")["state"] == "working" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert page.get("/api/live")["error"] == "the server failed (RuntimeError); its log says more"
