from pathlib import Path

import numpy as np
import pytest

from icface.errors import IcfaceError
from icface.video import camera
from icface.video.camera import camera_frames, played_frames
from icface.video.writing import write_video


class Clock:
    """Time that passes when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "ten.mp4"
    return str(write_video(path, [np.full((32, 32, 3), 20 * n, np.uint8) for n in range(10)], 10))


def played(clip: str, work: float, most: int = 100, **more: bool) -> tuple[list[int], list[float]]:
    """The frames that a consumer sees which needs `work` seconds for each, and when it got them."""
    clock, seen, when = Clock(), [], []
    for frame in played_frames(clip, clock=clock, sleep=clock.sleep, **more):
        seen.append(frame.index)
        when.append(round(clock.now, 3))
        assert round(float(frame.picture.mean()) / 20) == frame.index % 10
        if len(seen) == most:
            break
        clock.sleep(work)
    return seen, when


def test_a_quick_consumer_sees_every_frame_when_its_time_has_come(clip: str) -> None:
    seen, when = played(clip, work=0.01)
    assert seen == list(range(10))
    assert when == pytest.approx([n / 10 for n in range(10)], abs=0.011)


def test_a_slow_consumer_misses_frames_and_stays_in_time(clip: str) -> None:
    seen, when = played(clip, work=0.25)
    assert seen[0] == 0 and seen[-1] == 9 and len(seen) < 6
    for index, at in zip(seen, when, strict=True):
        assert at - index / 10 < 0.26  # never later than one frame's work


def test_a_film_is_played_again(clip: str) -> None:
    seen, when = played(clip, work=0.01, most=25, repeat=True)
    assert seen == list(range(25))
    assert when[20] == pytest.approx(2.0, abs=0.05)


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="camera:63: no camera answers there"):
        next(camera_frames("camera:63"))


def test_a_cameras_frames_are_rgb_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, opened = Clock(), []

    class Device:
        def __init__(self, number: int) -> None:
            opened.append(number)

        def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
            return True

        def set(self, what: int, value: int) -> None: ...

        def read(self) -> tuple[bool, np.ndarray]:
            clock.now += 0.05
            return True, np.full((8, 8, 3), (1, 2, 3), np.uint8)  # blue first

        def release(self) -> None:
            opened.clear()

    monkeypatch.setattr(camera.cv2, "VideoCapture", Device)
    frames = camera_frames("/dev/video2", clock=clock)
    found = [next(frames) for _ in range(3)]
    assert opened == [2]
    assert found[0].picture[0, 0].tolist() == [3, 2, 1]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.05, 0.1])
    frames.close()
    assert opened == []
