import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from icface.analyzers.pose import euler_from_rotation, pose_from_matrix

angles = st.floats(-1.5, 1.5, allow_nan=False)


@given(angles, angles, angles)
@settings(max_examples=200, deadline=None)
def test_angles_are_those_of_scipy(x: float, y: float, z: float) -> None:
    rotation = Rotation.from_euler("XYZ", [x, y, z])
    assert np.allclose(euler_from_rotation(rotation.as_matrix())[0], [x, y, z], atol=1e-5)


def test_angles_are_those_of_openfaces_quaternion_formula() -> None:
    """OpenFace's RotationMatrix2Euler, written down from its definition by way of SciPy's quaternion."""
    rotations = Rotation.from_euler("XYZ", np.random.default_rng(4).uniform(-1.2, 1.2, (50, 3)))
    q1, q2, q3, q0 = rotations.as_quat().T
    x = np.arctan2(2 * (q0 * q1 - q2 * q3), q0**2 - q1**2 - q2**2 + q3**2)
    y = np.arcsin(2 * (q0 * q2 + q1 * q3))
    z = np.arctan2(2 * (q0 * q3 - q1 * q2), q0**2 + q1**2 - q2**2 - q3**2)
    assert np.allclose(euler_from_rotation(rotations.as_matrix()), np.column_stack([x, y, z]), atol=1e-5)


@given(angles, angles, angles, st.floats(0.2, 5), st.floats(-80, 80))
@settings(max_examples=100, deadline=None)
def test_scale_and_place_of_the_face_do_not_matter(x: float, y: float, z: float, scale: float, shift: float) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("XYZ", [x, y, z]).as_matrix()
    moved = matrix.copy()
    moved[:3, :3] *= scale
    moved[:3, 3] = shift
    assert np.allclose(pose_from_matrix(moved.reshape(1, 16)), pose_from_matrix(matrix.reshape(1, 16)), atol=1e-5)


def test_axes_are_openfaces() -> None:
    """MediaPipe has y up and z towards the camera, OpenFace y down and z away: only pitch keeps its sign."""
    matrices = np.tile(np.eye(4), (3, 1, 1))
    for axis in range(3):
        matrices[axis, :3, :3] = Rotation.from_euler("xyz"[axis], 0.3).as_matrix()
    pose = pose_from_matrix(matrices.reshape(3, 16))
    assert np.allclose(pose, np.diag([0.3, -0.3, -0.3]), atol=1e-6)


def test_no_matrix_no_pose() -> None:
    pose = pose_from_matrix(np.stack([np.full(16, np.nan), np.eye(4).reshape(16)]))
    assert np.isnan(pose[0]).all()
    assert np.allclose(pose[1], 0)
