"""A z-buffer on torch: triangles to pixels, on CPU or GPU, with the same result every time."""

from dataclasses import dataclass

import torch
from torch import Tensor

DEPTH_STEPS = 1 << 30
"""Steps into which depth is divided: distances below a billionth of the range count as equal."""


@dataclass(frozen=True, eq=False)
class Fragments:
    """What is seen: at most one triangle a pixel."""

    pixel: Tensor
    """(F,) int64 index into the B x H x W pixels; each occurs once."""
    triangle: Tensor
    """(F,) int64."""
    picture: Tensor
    """(F,) int64 which of the B pictures."""
    weights: Tensor
    """(F, 3) share of each of the triangle's corners, perspective undone; they sum to 1."""
    depth: Tensor
    """(F,) distance from the camera."""

    def interpolate(self, values: Tensor, triangles: Tensor) -> Tensor:
        """(F, n) of values (B, C, n) at the corners; `triangles` (T, 3) as given to `rasterise`."""
        count = values.shape[1]
        corners = triangles[self.triangle] + (self.picture * count)[:, None]
        flat = values.reshape(-1, values.shape[-1])
        return sum(flat[corners[:, i]] * self.weights[:, i, None] for i in range(3))  # type: ignore[return-value]


def rasterise(points: Tensor, depth: Tensor, triangles: Tensor, size: tuple[int, int], cull: bool = True) -> Fragments:
    """Which triangle each pixel of B pictures shows.

    `points` (B, C, 2) float32: x to the right and y down, pixels, the centre of the first pixel at 0.5. `depth` (B, C)
    float32 above 0. `triangles` (T, 3) int64, the same in all pictures. `size`: height and width. With `cull`,
    triangles whose corners run clockwise as seen, the backs of a closed surface, are left out. Of two surfaces at one
    depth that with the smaller number is seen, so the result depends on no order of work.
    """
    height, width = size
    corners, near = points[:, triangles], depth[:, triangles]  # (B, T, 3, 2), (B, T, 3)
    area = doubled_area(corners)
    limit = torch.tensor([width, height], device=points.device)
    # The pixels whose centres lie within the box of the triangle.
    first = (corners.amin(2) - 0.5).ceil().clamp_min(0).long()
    last = torch.minimum((corners.amax(2) - 0.5).floor().long(), limit - 1)
    span = (last - first + 1).clamp_min(0)
    facing = area < 0 if cull else area != 0
    picture, triangle = torch.nonzero(facing & (span.prod(-1) > 0) & (near.amin(-1) > 0), as_tuple=True)

    owner, offset = repeated(span[picture, triangle].prod(-1))
    columns = span[picture, triangle, 0][owner]
    start = first[picture, triangle][owner]
    x, y = start[:, 0] + offset % columns, start[:, 1] + offset // columns

    slope_x, slope_y, constant = edge_functions(corners[picture, triangle], area[picture, triangle])
    shares = constant[owner] + slope_x[owner] * (x + 0.5)[:, None] + slope_y[owner] * (y + 0.5)[:, None]
    inside = (shares >= 0).all(-1)
    owner, x, y, shares = owner[inside], x[inside], y[inside], shares[inside]

    shares = shares / near[picture, triangle][owner]
    inverse = shares.sum(-1)
    distance = 1 / inverse
    pixel = (picture[owner] * height + y) * width + x
    low, high = depth.amin(), depth.amax()
    steps = ((distance - low) / (high - low).clamp_min(1e-9) * DEPTH_STEPS).long().clamp(0, DEPTH_STEPS)
    key = steps * len(triangles) + triangle[owner]
    nearest = torch.full((len(points) * height * width,), torch.iinfo(torch.int64).max, device=points.device)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    seen = nearest[pixel] == key
    owner = owner[seen]
    return Fragments(
        pixel=pixel[seen],
        triangle=triangle[owner],
        picture=picture[owner],
        weights=shares[seen] / inverse[seen, None],
        depth=distance[seen],
    )


def doubled_area(corners: Tensor) -> Tensor:
    """(...) twice the area of triangles (..., 3, 2) in a picture: negative for those that run counter-clockwise."""
    a, b, c = corners.unbind(-2)
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def edge_functions(corners: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three (N, 3): slopes in x and y, and constants, of each corner's share in triangles (N, 3, 2).

    `area` (N,): see `doubled_area`. The shares sum to 1, and are 0 or more within the triangle.
    """
    following, after = corners.roll(-1, 1), corners.roll(-2, 1)
    scale = 1 / area[:, None]
    slope_x = -(after[..., 1] - following[..., 1]) * scale
    slope_y = (after[..., 0] - following[..., 0]) * scale
    return slope_x, slope_y, -(slope_x * following[..., 0] + slope_y * following[..., 1])


def repeated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For each i `counts[i]` entries (int64) one after another: i, and 0, 1, 2 and so on."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return owner, torch.arange(len(owner), device=counts.device) - (counts.cumsum(0) - counts)[owner]
