"""Which points a picture of a surface shows, against a loop over every point and triangle."""

import numpy as np
import torch

from icface.synthetic.occlusion import NEARER, Surface
from icface.synthetic.raster import rasterise

SIZE = 16


def shown_by_hand(points, depth, triangles, place, far):
    if not ((place >= 0) & (place < SIZE)).all():
        return False
    for corners in triangles:
        (ax, ay), (bx, by), (cx, cy) = points[corners].astype(np.float64)
        if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) >= 0:
            continue
        shares = np.linalg.solve(np.array([[ax, bx, cx], [ay, by, cy], [1, 1, 1]]), [*place, 1])
        if (shares >= 0).all() and 1 / (shares / depth[corners]).sum() < far - NEARER:
            return False
    return True


def test_points_are_shown_unless_something_nearer_lies_before_them():
    rng = np.random.default_rng(4)
    points = rng.uniform(-4, 20, (36, 2)).astype(np.float32)
    depth = rng.uniform(2, 5, 36).astype(np.float32)
    triangles = rng.permutation(36).reshape(12, 3)
    places = rng.uniform(-1, 17, (400, 2)).astype(np.float32)
    far = np.where(rng.random(400) < 0.3, np.inf, rng.uniform(1, 6, 400)).astype(np.float32)
    surface = Surface(torch.from_numpy(points), torch.from_numpy(depth), torch.from_numpy(triangles), SIZE)
    shown = surface.shows(torch.from_numpy(places), torch.from_numpy(far)).numpy()
    expected = [shown_by_hand(points, depth, triangles, *point) for point in zip(places, far, strict=True)]
    assert 50 < sum(expected) < 350
    assert shown.tolist() == expected


def test_what_a_pixel_shows_is_shown(body, make_still):
    """No point of a picture is hidden in that very picture, slivers seen edge on included."""
    from icface.synthetic.camera import in_window, posed, project

    pixels, depth = project(posed(body, make_still(yaw=0.6)), body.person.distance)
    points = in_window(pixels, torch.tensor([[90.0, 90.0, 330.0]]), 64)[:, body.corner_vertex]
    depth = depth[:, body.corner_vertex]
    found = rasterise(points, depth, body.triangles, (64, 64))
    surface = Surface(points[0], depth[0], body.triangles, 64)
    places = torch.stack([found.pixel % 64, found.pixel // 64], dim=-1) + 0.5
    assert len(places) > 1500
    assert surface.shows(places, found.depth).all()
    assert surface.faces_us[found.triangle].all()
    assert not surface.shows(places, torch.full((len(places),), torch.inf)).any()
