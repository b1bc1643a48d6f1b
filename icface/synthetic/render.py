"""Pictures of a body in motion."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.synthetic.body import WORN, Body, normals
from icface.synthetic.camera import FRAME, Motion, in_window, posed, project
from icface.synthetic.canvas import SIDE
from icface.synthetic.head import PARTS, UNIT_NAMES
from icface.synthetic.raster import Fragments, rasterise

SAMPLES = 2
"""Samples a pixel along each side."""
BATCH = 4
"""Frames that are rendered at once: more need more memory and are no faster on a CPU."""
SOFT = (0.42, 0.28, 0.22)
"""How far light creeps around the edge of shadow in skin: red furthest."""
SHINE, SHINE_POWER = 0.10, 14.0
EYE_SHINE, EYE_POWER = 1.6, 120.0
INNER_LIPS = (62, 66)
"""The middle of upper and lower lip, iBUG points."""
WIDE_OPEN, LEAST_INSIDE, MOST_INSIDE = 0.25, 0.06, 0.8
"""Decimetres between the lips from which light enters freely; share of the light inside."""
EXPOSURE = 1.2
CREASE = 0.65
"""Share of the light that the deepest crease swallows."""
BROWS = (("browInnerUp", "browOuterUp"), ("browDown",))
"""Beginnings of the units that crease the forehead, and the skin between the brows."""
LEAST_SHADE = 0.25
"""Light that reaches even the deepest hollow: light goes around more than once."""


def render(body: Body, motion: Motion, windows: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    """(N, size, size, 3) uint8 RGB: of each frame the square of `windows` (N, 3), x, y, side in pixels of the whole.

    It is the same on every run. Frames do not depend on what else is rendered in the call, except for the camera's
    noise, which belongs to the place in `motion`. On a GPU pixels may differ from the CPU's by a step or two.
    """
    squares = np.asarray(windows, np.float32)
    rng = np.random.default_rng([*body.person.seed, 4])
    parts = [
        _render(body, motion[start : start + BATCH], torch.from_numpy(squares[start : start + BATCH]), size)
        for start in range(0, len(motion), BATCH)
    ]
    pictures = torch.cat(parts).cpu().numpy() * 255
    noise = rng.standard_normal(pictures.shape, np.float32) * body.person.noise
    return np.asarray(np.clip(pictures + noise + 0.5, 0, 255), np.uint8)


def _render(body: Body, motion: Motion, windows: Tensor, size: int) -> Tensor:
    """(N, size, size, 3) float, 0..1."""
    side = size * SAMPLES
    windows = windows.to(body.device)
    vertices = posed(body, motion)
    pixels, depth = project(vertices, body.person.distance)
    pixels = in_window(pixels, windows, side)
    corners = pixels[:, body.corner_vertex], depth[:, body.corner_vertex]
    found = rasterise(*corners, body.triangles, (side, side))
    canvas = _background(body, windows, side).reshape(-1, 3)
    canvas[found.pixel] = _shaded(body, vertices, _creasing(body, motion), found)
    fine = canvas.reshape(len(motion), size, SAMPLES, size, SAMPLES, 3).mean((2, 4))
    return _exposed(fine)


def _creasing(body: Body, motion: Motion) -> Tensor:
    """(N, 2) how far the brows are raised and lowered in each frame."""
    ways = [[index for index, unit in enumerate(UNIT_NAMES) if unit.startswith(names)] for names in BROWS]
    weights = np.stack([motion.units[:, way].mean(axis=1) for way in ways], axis=1)
    return torch.from_numpy(weights.astype(np.float32)).to(body.device)


def _shaded(body: Body, vertices: Tensor, creasing: Tensor, found: Fragments) -> Tensor:
    """(F, 3) light that comes from each fragment; `creasing` (N, 2): see `_creasing`."""
    faces = body.corner_vertex[body.triangles]
    outwards = normals(vertices, faces, body.around)
    values = torch.cat([outwards, body.shade[None, :, None].expand(len(outwards), -1, 1)], dim=-1)
    at = found.interpolate(values, faces)
    normal, shade = torch.nn.functional.normalize(at[:, :3], dim=-1), at[:, 3:]
    place = body.corner_uv[body.triangles[found.triangle]].mul(found.weights[..., None]).sum(1)
    paint = _sampled(body.texture, place)
    creases = (paint[:, 3:] * creasing[found.picture]).sum(1, keepdim=True)
    colour = paint[:, :3] * (1 - CREASE * creases.clamp(0, 1))
    part = body.triangle_part[found.triangle]

    inner = (part == PARTS.index("mouth")) | (part == PARTS.index("teeth")) | (part == PARTS.index("tongue"))
    shade = torch.where(inner[:, None], _openness(body, vertices)[found.picture, None], shade)

    light = body.person.light
    towards = normal.new_tensor(light.direction)
    half = torch.nn.functional.normalize(towards + normal.new_tensor((0.0, 0.0, 1.0)), dim=0)
    soft = normal.new_tensor(SOFT)
    along = (normal @ towards)[:, None]
    soft = soft * (part != WORN)[:, None]
    lamp = ((along + soft) / (1 + soft)).clamp_min(0)
    open_ = torch.where(inner[:, None], shade, LEAST_SHADE + (1 - LEAST_SHADE) * shade)
    around = light.ambient * (1 + light.above * normal[:, 1:2]) * open_
    lamp = light.strength * lamp * (0.4 + 0.6 * open_) * normal.new_tensor(light.colour)
    eye = (part == PARTS.index("eye"))[:, None]
    facing = (normal @ half)[:, None].clamp_min(0)
    shine = torch.where(
        eye, EYE_SHINE * facing**EYE_POWER, SHINE * facing**SHINE_POWER * colour.mean(1, keepdim=True).sqrt()
    )
    return colour * (around + lamp) * EXPOSURE + light.strength * shine * shade


def _openness(body: Body, vertices: Tensor) -> Tensor:
    """(N,) how much light the mouth lets in, 0..1: nearly none between closed lips."""
    upper, lower = (vertices[:, body.landmarks[point], 1] for point in INNER_LIPS)
    return ((upper - lower) / WIDE_OPEN).clamp(LEAST_INSIDE, MOST_INSIDE)


def _sampled(texture: Tensor, place: Tensor) -> Tensor:
    """(F, n) the texture (SIDE, SIDE, n) at `place` (F, 2), between texels."""
    x = (place[:, 0] * SIDE - 0.5).clamp(0, SIDE - 1.001)
    y = ((1 - place[:, 1]) * SIDE - 0.5).clamp(0, SIDE - 1.001)
    left, top = x.floor(), y.floor()
    right_share, low_share = (x - left)[:, None], (y - top)[:, None]
    flat = texture.reshape(-1, texture.shape[-1])
    first = top.long() * SIDE + left.long()
    above = flat[first] * (1 - right_share) + flat[first + 1] * right_share
    below = flat[first + SIDE] * (1 - right_share) + flat[first + SIDE + 1] * right_share
    return above * (1 - low_share) + below * low_share


def _background(body: Body, windows: Tensor, side: int) -> Tensor:
    """(N, side, side, 3) a blurred room, which stands still."""
    rng = np.random.default_rng([*body.person.seed, 5])
    cells = 48
    share = np.linspace(0, 1, cells)[None, :, None]
    room = np.array(body.person.background[0]) * (1 - share) + np.array(body.person.background[1]) * share
    room = np.repeat(room, cells, axis=0).astype(np.float32)
    for _ in range(rng.integers(3, 9)):
        left, top, width, height = rng.integers(0, cells, 2).tolist() + rng.integers(4, 20, 2).tolist()
        room[top : top + height, left : left + width] *= rng.uniform(0.55, 1.35)
    blurred = cv2.GaussianBlur(room, (0, 0), rng.uniform(0.8, 3.0), borderType=cv2.BORDER_REPLICATE)
    picture = torch.from_numpy(np.clip(blurred, 0, 1) ** 2.2).float().to(windows.device).permute(2, 0, 1)[None]
    step = (torch.arange(side, device=windows.device) + 0.5) / side
    x, y = ((windows[:, axis, None] + step * windows[:, 2:]) * (2 / FRAME) - 1 for axis in (0, 1))
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=-1)
    found = torch.nn.functional.grid_sample(
        picture.expand(len(windows), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found.permute(0, 2, 3, 1).contiguous()


def _exposed(light: Tensor) -> Tensor:
    """0..1 as a screen shows it (gamma 2.2), with highlights rolled off."""
    return (light / (1 + 0.12 * light * light)).clamp(0, 1).pow(1 / 2.2)
