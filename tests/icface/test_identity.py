"""Comparing faces: the groups by hand, and dlib's network on two real people."""

from pathlib import Path

import numpy as np
import pytest

from icface.analyzers import create
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.identity import SAME_PERSON, FaceEmbedder, distances, mismatched_identities
from icface.video.reading import read_frames

HERE, THERE = 0.3, 0.9
"""Distances of one person's faces and of two people's."""


def apart(*groups: int) -> np.ndarray:
    """Distances of as many faces as there are numbers; equal numbers are one person."""
    same = np.equal.outer(groups, groups)
    return np.where(same, HERE, THERE) - HERE * np.eye(len(groups))


def test_distances_are_euclidean() -> None:
    points = np.random.default_rng(3).normal(size=(5, 7))
    found = distances(points)
    assert found.shape == (5, 5)
    assert found[1, 4] == pytest.approx(np.sqrt(((points[1] - points[4]) ** 2).sum()))
    assert (found.diagonal() == 0).all()


@pytest.mark.parametrize(
    ("people", "flagged"),
    [
        ((1,), ()),
        ((1, 1), ()),
        ((1, 2), (0, 1)),  # nobody can say which of the two is meant
        ((1, 1, 2), (2,)),
        ((2, 1, 1, 1, 3), (0, 4)),
        ((1, 1, 2, 2), (0, 1, 2, 3)),
        ((1, 2, 1, 2, 2), (0, 2)),
    ],
)
def test_the_largest_group_is_the_person(people: tuple[int, ...], flagged: tuple[int, ...]) -> None:
    assert tuple(np.flatnonzero(mismatched_identities(apart(*people)))) == flagged


def test_faces_are_joined_through_others_between_them() -> None:
    """A smile and a profile may be far from each other and both near a face in between."""
    chain = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) * (SAME_PERSON - 0.1)
    assert not mismatched_identities(chain).any()


@pytest.fixture(scope="module")
def faces(sample_clips: dict[str, Path]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Crops of 128 px with their landmarks in it: three moments of each of two people."""
    analyzer = create("mediapipe")
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, path in sample_clips.items():
        for indices, frames in read_frames(path, every=40, window=3):
            faces = [face[0] for face in analyzer.analyze(frames, indices, name)]
            height, width = frames.shape[1:3]
            squares = CropRule(mode="track").squares([face.box for face in faces], 1.0, width, height)
            found[name] = [
                (crop_image(frame, square, 128), ((face.landmarks - square[:2]) / square[2]).astype(np.float16))
                for frame, face, square in zip(frames, faces, squares, strict=True)
            ]
            break
    analyzer.close()
    return found


def test_one_person_is_near_and_another_is_far(faces: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    embed = FaceEmbedder()
    one, other = (np.stack([embed(*face) for face in faces[name]]) for name in sorted(faces))
    assert one.shape == (3, 128)
    assert distances(one).max() < SAME_PERSON
    assert distances(other).max() < SAME_PERSON
    assert np.linalg.norm(one[:, None] - other[None], axis=-1).min() > SAME_PERSON
    again = FaceEmbedder()(*faces[sorted(faces)[0]][0])
    assert np.array_equal(again, one[0])


def test_weights_that_are_none_are_said(tmp_path: Path) -> None:
    path = tmp_path / "text.dat"
    path.write_text("no network")
    with pytest.raises(IcfaceError, match=r"text\.dat"):
        FaceEmbedder(path)
