import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from icface.attributes import ATTRIBUTE_NAMES, LABEL_NAMES, SIDED_UNITS, AttributeSchema, Seen
from icface.images import resize
from icface.training.augmentation import View, seen_in_training, turned
from icface.training.config import DataConfig

YAW, ROLL = ATTRIBUTE_NAMES.index("pose_yaw"), ATTRIBUTE_NAMES.index("pose_roll")


def test_a_flip_mirrors_picture_signs_and_landmarks():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (16, 16, 3), np.uint8)
    labels = rng.uniform(0.1, 0.5, 20).astype(np.float32)
    landmarks = rng.random((68, 2), np.float32)
    view = View(True, 0.0)
    np.testing.assert_array_equal(view.picture(picture), np.fliplr(picture))
    flipped = view.labels(labels)
    expected = labels.copy()
    expected[[YAW, ROLL]] *= -1
    np.testing.assert_array_equal(flipped, expected)
    moved = view.landmarks(landmarks)
    np.testing.assert_allclose(moved[36], [1 - landmarks[45, 0], landmarks[45, 1]], atol=1e-6)  # outer eye corners
    np.testing.assert_allclose(moved[8], [1 - landmarks[8, 0], landmarks[8, 1]], atol=1e-6)  # chin


@pytest.mark.parametrize("turn", [-0.3, 0.2])
def test_a_turn_moves_picture_landmarks_and_pose_alike(turn):
    picture = np.zeros((101, 101, 3), np.uint8)
    picture[28:33, 68:73] = 255  # a dot right of and above the middle
    landmarks = np.tile(np.float32([70.5 / 101, 30.5 / 101]), (68, 1))
    pose = np.array([0.1, -0.2, 0.05])
    labels = np.zeros(20, np.float32)
    labels[:3] = pose
    view = View(False, turn)
    rows, columns = np.nonzero(view.picture(picture)[..., 0] > 128)
    centre = (np.array([columns.mean(), rows.mean()]) + 0.5) / 101
    np.testing.assert_allclose(view.landmarks(landmarks)[0], centre, atol=0.006)
    expected = Rotation.from_euler("z", turn) * Rotation.from_euler("XYZ", pose)
    np.testing.assert_allclose(view.labels(labels)[:3], expected.as_euler("XYZ"), atol=1e-6)
    assert (centre[1] > 0.305) == (turn > 0)  # clockwise moves a dot on the right down


def test_a_turned_face_is_measured_turned(sample_clips):
    from icface.analyzers.mediapipe import MediaPipeAnalyzer
    from icface.video.reading import read_frames

    _, frames = next(iter(read_frames(sample_clips["single_face.mp4"])))
    square = np.ascontiguousarray(frames[0][:, 140:500])
    analyzer = MediaPipeAnalyzer()
    view = View(False, 0.2)
    before, after = (faces[0] for faces in analyzer.analyze(np.stack([square, view.picture(square)]), [0, 0], "clip"))
    expected = view.labels(before.attributes)[:3]
    assert np.abs(np.rad2deg(after.attributes[:3] - expected)).max() < 3
    assert np.rad2deg(after.attributes[ROLL] - before.attributes[ROLL]) > 8
    moved = view.landmarks(before.landmarks / len(square)) * len(square)
    assert np.abs(moved - after.landmarks).mean() < 3


def test_flips_and_turns_add_poses_to_those_that_occur():
    yaw = Seen(min=-0.2, p01=-0.1, p50=0.05, p99=0.4, max=0.5)
    roll = Seen(min=-0.1, p01=-0.05, p50=0.0, p99=0.05, max=0.2)
    smile = Seen(min=0.0, p01=0.0, p50=0.1, p99=1.5, max=1.8)
    schema = AttributeSchema.default().with_seen({"pose_yaw": yaw, "pose_roll": roll, "AU12": smile})
    plain = seen_in_training(schema, DataConfig(flip=False))
    assert plain == schema
    seen = {a.name: a.seen for a in seen_in_training(schema, DataConfig(rotate=10.0)).attributes}
    assert (seen["pose_yaw"].min, seen["pose_yaw"].p01, seen["pose_yaw"].max) == (-0.5, -0.4, 0.5)
    turn = np.deg2rad(10)
    assert (seen["pose_roll"].min, seen["pose_roll"].max) == pytest.approx((-0.2 - turn, 0.2 + turn))
    assert seen["AU12"] == smile


def test_a_turned_picture_keeps_its_sharpness(sample_clips):
    from icface.metrics.pictures import laplacian_variance
    from icface.video.reading import read_frames

    _, frames = next(iter(read_frames(sample_clips["single_face.mp4"])))
    picture = resize(np.ascontiguousarray(frames[0][:, 140:500]), 64)
    middle = np.float32([[0.2, 0.2, 0.6, 0.6]])
    real = laplacian_variance(picture[None], middle)
    after = [laplacian_variance(View(False, turn).picture(picture)[None], middle) for turn in (-0.2, 0.1, 0.25)]
    assert np.mean(after) > 0.8 * real  # bilinear turning leaves half


def test_half_of_the_frames_are_not_turned():
    drawn = np.linspace(0, 1, 1001)
    turns = np.rad2deg(turned(drawn, 15.0))
    assert np.mean(turns == 0) == pytest.approx(0.5, abs=0.01)
    assert turns.min() == pytest.approx(-15) and turns.max() == pytest.approx(15)
    assert not turned(drawn, 0.0).any()


def test_a_flip_swaps_the_sides():
    labels = np.arange(len(LABEL_NAMES), dtype=np.float32)
    flipped = dict(zip(LABEL_NAMES, View(True, 0.0).labels(labels).tolist(), strict=True))
    for unit in SIDED_UNITS:
        assert flipped[f"{unit}L"] == LABEL_NAMES.index(f"{unit}R")
        assert flipped[f"{unit}R"] == LABEL_NAMES.index(f"{unit}L")
        assert flipped[unit] == LABEL_NAMES.index(unit)


def test_a_mirrored_face_is_measured_with_its_sides_swapped(sample_clips, analyzer):
    """MediaPipe itself is not quite symmetric: differences between the sides must turn round, over a clip."""
    from icface.video.reading import read_frames

    _, frames = next(iter(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"], window=60)))
    chosen = frames[::6]
    view = View(True, 0.0)
    plain, mirrored = (
        np.stack([faces[0].labels(sides=True) for faces in analyzer.analyze(pictures, range(len(chosen)), "clip")])
        for pictures in (chosen, np.stack([view.picture(frame) for frame in chosen]))
    )
    expected = np.stack([view.labels(row) for row in plain])
    sides = slice(len(ATTRIBUTE_NAMES), None)
    right, wrong = (np.abs(mirrored[:, sides] - other[:, sides]).mean(axis=0) for other in (expected, plain))
    assert right.sum() < wrong.sum()


def test_flips_give_both_sides_what_either_shows():
    def seen(high):
        return Seen(min=0.0, p01=0.0, p50=0.1, p99=high / 2, max=high)

    schema = AttributeSchema.default(sides=True).with_seen({"AU12L": seen(1.0), "AU12R": seen(3.0)})
    found = {a.name: a.seen for a in seen_in_training(schema, DataConfig()).attributes}
    assert found["AU12L"] == found["AU12R"] == Seen(min=0.0, p01=0.0, p50=0.1, p99=1.0, max=3.0)
    assert seen_in_training(schema, DataConfig(flip=False)) == schema
