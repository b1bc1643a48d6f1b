import numpy as np
import torch

from icface.analyzers.mediapipe_torch.geometry import NEAR_HEIGHT, FaceGeometry, matrices, nearest_rotation
from icface.analyzers.mediapipe_torch.task import load_task
from icface.analyzers.pose import rotation_from_euler


def test_the_nearest_rotation_is_that_of_the_svd() -> None:
    generator = np.random.default_rng(0)
    turned = rotation_from_euler(generator.uniform(-1, 1, (40, 3)))
    matrix = torch.from_numpy(turned @ (np.diag([9.0, 4.0, 0.5]) + 0.2 * generator.normal(size=(40, 3, 3))))
    matrix = matrix[torch.linalg.det(matrix) > 0]
    left, _, right = torch.linalg.svd(matrix)
    assert len(matrix) > 30
    torch.testing.assert_close(nearest_rotation(matrix), left @ right, rtol=0, atol=1e-9)


def test_equal_singular_values_have_finite_gradients() -> None:
    matrix = torch.eye(3)[None].requires_grad_()
    nearest_rotation(matrix)[0, 0, 1].backward()
    assert matrix.grad is not None
    torch.testing.assert_close(matrix.grad[0, :2, :2], torch.tensor([[0.0, 0.5], [-0.5, 0.0]]))


def test_a_canonical_face_in_space_is_found_again() -> None:
    task = load_task()
    generator = np.random.default_rng(1)
    turned = torch.from_numpy(rotation_from_euler(generator.uniform(-0.4, 0.4, (8, 3)))).float()
    place = torch.from_numpy(generator.uniform([-10, -10, -70], [10, 10, -40], (8, 3))).float()
    face = torch.from_numpy(task.canonical)
    points = torch.einsum("bij,nj->bni", turned, face) + place[:, None]
    depth = -points[..., 2]
    # Depths of MediaPipe's landmarks are relative, in the unit of x at the face's own distance.
    mean = depth.mean(dim=1, keepdim=True)
    screen = torch.stack([points[..., 0] / depth, -points[..., 1] / depth, (depth - mean) / mean], dim=-1) / NEAR_HEIGHT
    scale, rotation, translation = FaceGeometry(task)(screen)
    torch.testing.assert_close(rotation, turned, rtol=0, atol=0.02)
    torch.testing.assert_close(translation / scale[:, None], place, rtol=0.05, atol=0.5)
    assert matrices(scale, rotation, translation).shape == (8, 16)
