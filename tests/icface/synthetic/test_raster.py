"""The z-buffer against a loop over every pixel and triangle."""

import numpy as np
import torch

from icface.synthetic.raster import rasterise

SIZE = (13, 17)


def by_hand(points, depth, triangles, cull):
    """Triangle (or -1) and depth of each pixel, one picture."""
    seen, nearest = np.full(SIZE, -1), np.full(SIZE, np.inf)
    for number, corners in enumerate(triangles):
        (ax, ay), (bx, by), (cx, cy) = points[corners]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (cull and area > 0):
            continue
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                system = np.array([[ax, bx, cx], [ay, by, cy], [1, 1, 1]], np.float64)
                shares = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
                if (shares < 0).any():
                    continue
                at = 1 / (shares / depth[corners]).sum()
                if at < nearest[row, column]:
                    seen[row, column], nearest[row, column] = number, at
    return seen, nearest


def test_each_pixel_shows_the_nearest_triangle():
    rng = np.random.default_rng(3)
    points = rng.uniform(-4, 20, (2, 24, 2)).astype(np.float32)
    depth = rng.uniform(1, 5, (2, 24)).astype(np.float32)
    triangles = rng.permutation(24).reshape(8, 3)
    for cull in (True, False):
        found = rasterise(torch.from_numpy(points), torch.from_numpy(depth), torch.from_numpy(triangles), SIZE, cull)
        seen = np.full((2, *SIZE), -1)
        distance = np.full((2, *SIZE), np.inf)
        seen.reshape(-1)[found.pixel] = found.triangle
        distance.reshape(-1)[found.pixel] = found.depth
        for picture in range(2):
            expected, at = by_hand(points[picture], depth[picture], triangles, cull)
            assert (expected >= 0).sum() > 20
            assert (seen[picture] == expected).all()
            np.testing.assert_allclose(distance[picture][expected >= 0], at[expected >= 0], rtol=1e-4)


def test_values_between_corners_undo_the_perspective():
    # A square that recedes: its middle in space is not its middle in the picture.
    points = torch.tensor([[[0.0, 0.0], [0.0, 16.0], [8.0, 12.0], [8.0, 4.0]]])
    depth = torch.tensor([[1.0, 1.0, 2.0, 2.0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    found = rasterise(points, depth, triangles, (16, 8))
    along = found.interpolate(torch.tensor([[[0.0], [0.0], [1.0], [1.0]]]), triangles)[:, 0]
    column = (found.pixel % 8).float() + 0.5
    depth_there = 1 / (1 - column / 16)
    torch.testing.assert_close(found.depth, depth_there)
    torch.testing.assert_close(along, depth_there - 1, atol=1e-5, rtol=1e-5)
