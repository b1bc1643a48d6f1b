"""Pose, landmarks and units of synthetic faces mean what `docs/attributes.md` says: by geometry, not by analyzers."""

import cv2
import numpy as np
import pytest

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES, attributes_from_blendshapes
from icface.analyzers.pose import euler_from_rotation, pose_from_matrix
from icface.attributes import ATTRIBUTE_NAMES
from icface.synthetic.camera import FIELD, FRAME, landmarks, posed
from icface.synthetic.head import UNIT_NAMES
from icface.synthetic.labels import OWN, attributes, blendshapes, face_matrices
from icface.synthetic.motion import draw_motion, draw_stills

FLIP = np.array([1, -1, -1])


def label(motion, name):
    return float(attributes(motion)[0, ATTRIBUTE_NAMES.index(name)])


def test_signs_of_the_pose(body, make_still):
    rest = landmarks(body, make_still())[0]
    nose, eyes, chin, brows = 30, [36, 39, 42, 45], 8, [19, 24]
    down, left, right = (
        landmarks(body, make_still(**pose))[0] for pose in ({"pitch": 0.3}, {"yaw": 0.3}, {"roll": 0.3})
    )

    def before_the_eyes(points):
        return points[nose] - points[eyes].mean(axis=0)

    assert before_the_eyes(down)[1] > before_the_eyes(rest)[1] + 5  # looks down: the nose sinks below the eyes
    assert before_the_eyes(left)[0] < before_the_eyes(rest)[0] - 5  # to the left of the picture
    assert right[brows].mean(axis=0)[0] - right[chin][0] > 20  # the top of the head leans to the right


def test_the_head_turns_by_exactly_the_pose(body, make_still):
    """By Kabsch's method on the vertices that follow the head entirely."""
    whole = (body.head_weight == 1).numpy()
    rest = posed(body, make_still())[0].numpy()[whole] * FLIP
    for pose in ((0.3, 0.0, 0.0), (0.1, -0.5, 0.2), (-0.25, 0.4, -0.3)):
        turned = posed(body, make_still(pitch=pose[0], yaw=pose[1], roll=pose[2]))[0].numpy()[whole] * FLIP
        u, _, vt = np.linalg.svd((turned - turned.mean(0)).T @ (rest - rest.mean(0)))
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        np.testing.assert_allclose(euler_from_rotation(rotation)[0], pose, atol=1e-4)


def test_landmarks_are_where_a_camera_sees_them(body, make_still):
    """OpenCV finds the pose again from the landmarks in the picture and in space."""
    motion = make_still(pitch=0.15, yaw=-0.4, roll=0.2)
    space = posed(body, make_still(), body.landmarks)[0].numpy().astype(np.float64) * FLIP
    focal = FRAME / FIELD * body.person.distance
    camera = np.array([[focal, 0, FRAME / 2], [0, focal, FRAME / 2], [0, 0, 1]])
    seen = landmarks(body, motion)[0].astype(np.float64)
    rigid = [*range(36, 48), *range(27, 31), *range(48, 68)]
    assert bool((body.head_weight[body.landmarks][rigid] > 0.999).all())
    _, turn, _ = cv2.solvePnP(space[rigid], seen[rigid], camera, None, flags=cv2.SOLVEPNP_ITERATIVE)
    np.testing.assert_allclose(euler_from_rotation(cv2.Rodrigues(turn)[0])[0], motion.pose[0], atol=2e-3)


@pytest.mark.parametrize(
    ("unit", "name", "moved", "direction"),
    [
        ("browInnerUp", "AU01", [21, 22], (0, -1)),
        ("browOuterUp", "AU02", [17, 18, 25, 26], (0, -1)),
        ("browDown", "AU04", [19, 20, 23, 24], (0, 1)),
        ("eyeWide", "AU05", [37, 38, 43, 44], (0, -1)),
        ("eyeSquint", "AU07", [40, 41, 46, 47], (0, -1)),
        ("mouthUpperUp", "AU10", [50, 52], (0, -1)),
        ("mouthSmile", "AU12", [48, 54], (0, -1)),
        ("mouthFrown", "AU15", [48, 54], (0, 1)),
        ("mouthShrugLower", "AU17", [56, 57, 58], (0, -1)),
        ("jawOpen", "AU26", [7, 8, 9, 57], (0, 1)),
        ("eyeBlink", "AU45", [37, 38, 43, 44], (0, 1)),
    ],
)
def test_units_move_the_face_as_facs_says(body, make_still, unit, name, moved, direction):
    shift = landmarks(body, make_still({unit: 1}))[0] - landmarks(body, make_still())[0]
    others = np.delete(np.arange(68), moved)
    assert (shift[moved] @ direction).min() > 0.8, shift[moved]
    assert np.linalg.norm(shift[moved], axis=1).mean() > 2 * np.linalg.norm(shift[others], axis=1).mean() or unit in (
        "mouthSmile",
        "jawOpen",
    )
    assert label(make_still({unit: 1}), name) > label(make_still({unit: 0.4}), name) >= 0.25
    assert label(make_still(), name) == 0


def test_the_inner_brow_leaves_the_middle_and_the_outer_one(body, make_still):
    """MediaPipe reads the middle of a brow as AU02."""
    up = (landmarks(body, make_still())[0] - landmarks(body, make_still({"browInnerUp": 1}))[0])[:, 1]
    assert up[[21, 22]].min() > 5 * np.abs(up[[17, 18, 19, 24, 25, 26]]).max()


def test_mouth_corners_go_aside_when_smiling_stretching_and_dimpling(body, make_still):
    rest = landmarks(body, make_still())[0]
    for unit in ("mouthSmile", "mouthStretch", "mouthDimple"):
        shift = landmarks(body, make_still({unit: 1}))[0] - rest
        assert shift[54, 0] > 1 > -1 > shift[48, 0], unit


def test_left_is_the_persons_own(body, make_still):
    """ARKit's left is the person's: at the right of the picture."""
    shift = landmarks(body, make_still({"mouthSmileLeft": 1}))[0] - landmarks(body, make_still())[0]
    assert np.linalg.norm(shift[54]) > 5 * np.linalg.norm(shift[48])


def test_lids_close_on_everybody(make_still):
    from icface.synthetic.body import build_body
    from icface.synthetic.people import draw_person

    for number in range(4):
        someone = build_body(draw_person(2, number))
        opened, closed = (landmarks(someone, make_still({"eyeBlink": weight}))[0] for weight in (0, 1))
        for upper, lower in (([37, 38], [41, 40]), ([43, 44], [47, 46])):
            gaps = [(points[lower, 1] - points[upper, 1]).mean() for points in (opened, closed)]
            assert gaps[0] > 5 > 1 > gaps[1]


def test_labels_agree_with_the_mapping_of_real_clips():
    motion = draw_motion(40, 5)
    labels, distance = attributes(motion), 12.0
    assert np.isfinite(labels).all()
    assert labels.min() >= -0.7
    points = np.random.default_rng(0).uniform(0, 1, (40, 68, 2))
    same = attributes_from_blendshapes(blendshapes(motion), face_matrices(motion, distance), points)
    for column, name in enumerate(ATTRIBUTE_NAMES):
        if name not in OWN:
            np.testing.assert_allclose(labels[:, column], same[:, column], atol=1e-4, err_msg=name)
    np.testing.assert_allclose(pose_from_matrix(face_matrices(motion, distance)), motion.pose, atol=1e-5)


def test_units_without_another_source_follow_their_own_weight(make_still):
    for name, unit in OWN.items():
        assert label(make_still({unit: 0.6}), name) == pytest.approx(1.5)


def test_every_unit_moves_in_drawn_motions():
    units = np.concatenate([draw_motion(400, seed).units for seed in range(12)])
    assert units.min() >= 0
    assert units.max() <= 1
    named = [name for name in BLENDSHAPE_NAMES[1:] if not name.startswith(("jawForward", "jawLeft", "jawRight"))]
    moving = {name for name, largest in zip(BLENDSHAPE_NAMES[1:], units.max(axis=0), strict=False) if largest > 0.3}
    assert set(named) - moving <= {"mouthClose", "mouthLeft", "mouthRight", "mouthShrugUpper"}


def test_everybody_raises_and_lowers_brows_in_stills_weakly_and_strongly():
    for person in range(6):
        stills = draw_stills(12, 8, person)
        brows = stills.units[:, [UNIT_NAMES.index(name) for name in ("browInnerUp", "browOuterUpLeft", "browDownLeft")]]
        assert ((brows > 0).sum(axis=0) >= [4, 4, 2]).all(), person
        assert (brows.max(axis=0) > 0.5).all(), person
        assert not (brows[:, :2].any(axis=1) & (brows[:, 2] > 0)).any(), "nobody raises and lowers a brow at once"


def test_motions_are_smooth_and_within_limits():
    motion = draw_motion(300, 8)
    assert np.abs(np.degrees(motion.pose)).max(axis=0) == pytest.approx([20, 38, 20], abs=20)
    assert np.degrees(np.abs(np.diff(motion.pose, axis=0))).max() < 4
    stills = draw_stills(300, 8)
    limits = np.degrees(np.abs(stills.pose)).max(axis=0)
    assert (limits > [13, 32, 13]).all()
    assert (limits <= [15, 35, 15]).all()
