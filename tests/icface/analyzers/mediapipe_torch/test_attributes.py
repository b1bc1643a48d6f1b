import numpy as np
import torch

from icface.analyzers.blendshapes import attributes_from_blendshapes
from icface.analyzers.mediapipe_torch.attributes import action_units_of, pose_of
from icface.analyzers.pose import pose_from_matrix, rotation_from_euler


def rotations(count: int) -> np.ndarray:
    return rotation_from_euler(np.random.default_rng(0).uniform(-0.9, 0.9, (count, 3)))


def matrices_of(turned: np.ndarray) -> np.ndarray:
    matrices = np.tile(np.eye(4), (len(turned), 1, 1))
    matrices[:, :3, :3] = 1.3 * turned
    return matrices.reshape(-1, 16)


def test_pose_is_the_numpy_mappings() -> None:
    turned = rotations(50)
    ours = pose_of(torch.from_numpy(turned))
    np.testing.assert_allclose(ours.numpy(), pose_from_matrix(matrices_of(turned)), atol=1e-5)


def test_action_units_are_the_numpy_mappings() -> None:
    generator = np.random.default_rng(1)
    shapes = generator.uniform(0, 1, (50, 52)).astype(np.float32)
    points = generator.uniform(0, 100, (50, 68, 2)).astype(np.float32)
    turned = rotations(50)
    expected = attributes_from_blendshapes(shapes, matrices_of(turned), points)
    pose = pose_of(torch.from_numpy(turned).float())
    ours = action_units_of(torch.from_numpy(shapes), pose, torch.from_numpy(points)).clamp(0, 5)
    np.testing.assert_allclose(ours.numpy(), expected[:, 3:], atol=1e-4)
    assert np.isnan(expected).any()
    assert (expected[:, 3:] > 0).any()
