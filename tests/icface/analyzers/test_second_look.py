"""Faces that are small in their frame are found on a second look, by both analyzers of MediaPipe's networks."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.analyzers import create
from icface.analyzers.face import Analyzer, Face
from icface.analyzers.second_look import NEAR, Squares, look_again, squares_over
from icface.video.reading import read_frames


def face_at(x: float, y: float, side: float) -> Face:
    corners = np.array([[x, y], [x + side, y + side]], np.float32)
    return Face(landmarks=np.repeat(corners, 34, axis=0), attributes=np.zeros(20, np.float32), confidence=1.0)


class Scene:
    """A face of 60 px in every frame, seen in squares that hold it whole and in which it is 10 % high."""

    def __init__(self, x: float = 900, y: float = 500) -> None:
        self.x, self.y = x, y
        self.looks: Counter[int] = Counter()

    def look(self, places: list[int], squares: Squares) -> list[list[Face]]:
        found: list[list[Face]] = []
        for place, (left, top, side) in zip(places, squares, strict=True):
            self.looks[place] += 1
            inside = left <= self.x and top <= self.y and self.x + 60 <= left + side and self.y + 60 <= top + side
            found.append([face_at(self.x, self.y, 60)] if inside and side <= 600 else [])
        return found


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (1280, 720), (3840, 2160), (700, 700)])
def test_every_small_face_lies_whole_in_a_square(size: tuple[int, int]):
    random = np.random.default_rng(0)
    levels = squares_over(*size)
    assert levels
    for squares in levels:
        assert (squares[:, :2] >= 0).all()
        assert (squares[:, :2] + squares[:, 2:] <= np.array(size) + 1e-6).all()
        side = 0.19 * squares[0, 2]
        for corner in random.uniform(0, np.array(size) - side, (200, 2)):
            assert ((squares[:, :2] <= corner) & (corner + side <= squares[:, :2] + squares[:, 2:])).all(axis=1).any()


def test_a_frame_is_searched_whole_only_once_in_a_while():
    scene, empty = Scene(), Scene(-1000, -1000)
    found = look_again([[] for _ in range(2 * NEAR)], 1920, 1080, scene.look)
    assert all(len(faces) == 1 and faces[0].box[0] == 900 for faces in found)
    assert sum(count > 1 for count in scene.looks.values()) == 2
    assert look_again([[] for _ in range(2 * NEAR)], 1920, 1080, empty.look) == [[]] * 2 * NEAR
    assert sorted(empty.looks) == [0, NEAR]


def test_a_lost_face_is_looked_for_where_it_was():
    scene = Scene()
    first: list[list[Face]] = [[face_at(880, 490, 64)], [], [face_at(890, 490, 64)], []]
    found = look_again(first, 1920, 1080, scene.look)
    assert scene.looks == {1: 1, 3: 1}
    assert [faces[0].box[0] for faces in found] == [880, 900, 890, 900]


@pytest.mark.parametrize(("width", "height"), [(400, 300), (256, 256)])
def test_small_frames_are_not_looked_at_again(width: int, height: int):
    scene = Scene()
    assert look_again([[]], width, height, scene.look) == [[]]
    assert not scene.looks


@pytest.fixture(scope="module", params=["mediapipe", "mediapipe-torch"])
def analyzer(request: pytest.FixtureRequest) -> Analyzer:
    return create(request.param)


@pytest.mark.parametrize("height", [64, 120])
def test_a_person_far_away_is_found_and_measured(height: int, analyzer: Analyzer, sample_clips: dict[str, Path]):
    """Footage scaled down and put into 1920 x 1080: faces of 3 and 6 % of the longer side."""
    frames = next(read_frames(sample_clips["single_face.mp4"], every=12, window=6))[1]
    near = [faces[0] for faces in analyzer.analyze(frames, range(len(frames)), "near")]
    scale = height / np.mean([face.box[3] for face in near])
    far = np.full((len(frames), 1080, 1920, 3), 90, np.uint8)
    for frame, target in zip(frames, far, strict=True):
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        target[300 : 300 + small.shape[0], 1100 : 1100 + small.shape[1]] = small
    found = analyzer.analyze(far, range(len(far)), "far")
    assert [len(faces) for faces in found] == [1] * len(far)
    for (face,), original in zip(found, near, strict=True):
        expected = original.landmarks * scale + (1100, 300)
        eyes = np.linalg.norm(expected[36] - expected[45])
        assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 0.04 * eyes
        aus = np.abs(face.attributes - original.attributes)[3:]
        assert np.nanmean(aus) < 0.25


def test_the_pose_is_that_of_the_whole_frame(analyzer: Analyzer, sample_clips: dict[str, Path]):
    """The same face, found at first sight and on a second look: MediaPipe's angles depend on its place in the frame."""
    frames = next(read_frames(sample_clips["single_face.mp4"], every=20, window=3))[1]
    large = np.full((1, 1080, 1920, 3), 90, np.uint8)
    scale = 260 / analyzer.analyze(frames[:1], [0], "near")[0][0].box[3]
    small = cv2.resize(frames[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = min(small.shape[0], 1080), min(small.shape[1], 1920)
    large[0, :rows, 1920 - columns :] = small[:rows, :columns]
    (face,) = analyzer.analyze(large, [0], "large")[0]
    again: list[list[Face]] = []

    def look(found: list[list[Face]], width: int, height: int, see: object) -> list[list[Face]]:
        side = 3.0 * float(face.box[3])
        corner = face.box[:2] + face.box[2:] / 2 - side / 2
        again.extend(see([0], np.array([[*corner, side]])))  # type: ignore[operator]
        return found

    module = __import__(type(analyzer).__module__, fromlist=["look_again"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "look_again", look)
        analyzer.analyze(large, [0], "large")
    (second,) = again[0]
    assert np.degrees(np.abs(second.attributes[:3] - face.attributes[:3])).max() < 2.0
    assert np.abs(second.landmarks - face.landmarks).mean() < 0.03 * face.box[3]
