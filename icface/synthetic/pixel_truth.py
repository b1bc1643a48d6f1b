"""What pictures of synthetic people show, pixel by pixel: which part, and where the same point is in another frame.

Everything is taken at the pixels' centres from the surface itself, never from the pictures.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from icface.synthetic.body import Body
from icface.synthetic.camera import Motion, in_window, posed, project
from icface.synthetic.canvas import EYE_CENTRE, EYE_RADIUS, SIDE, SWATCH, SWATCHES, load_canvas
from icface.synthetic.head import load_head
from icface.synthetic.occlusion import Surface
from icface.synthetic.people import Person
from icface.synthetic.raster import Fragments, rasterise
from icface.synthetic.render import BATCH
from icface.synthetic.texture import HAIRLINE, HEAD_AXIS, block, hair_cover

LABELS = ("background", "face", "eyes", "mouth", "hair", "body", "glasses")
"""What the values of a mask mean. `face`: skin in front of the ears, from jaw to hairline, with brows, lips, lashes and
beard. `mouth`: its inside, teeth and tongue. `body`: all other skin, and clothes."""
JAW = 17
"""How many iBUG points, from the first, run from ear to ear along the jaw."""
FRAYED = 0.06
"""How far skin reaches in between hairs at the hairline, decimetres."""

Array = npt.NDArray[np.float32]


def masks(body: Body, motion: Motion, windows: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    """(N, size, size) uint8 number in `LABELS` of what each pixel's centre shows.

    `windows` (N, 3): x, y, side in pixels of the whole picture, as for `icface.synthetic.render.render`.
    """
    labels = torch.from_numpy(label_map(body.person).reshape(-1)).to(body.device)
    result = torch.zeros(len(motion) * size * size, dtype=torch.uint8, device=body.device)
    for start, found in _seen(body, motion, windows, size):
        place = body.corner_uv[body.triangles[found.triangle]].mul(found.weights[..., None]).sum(1)
        column = (place[:, 0] * SIDE).long().clamp(0, SIDE - 1)
        row = ((1 - place[:, 1]) * SIDE).long().clamp(0, SIDE - 1)
        result[start * size * size + found.pixel] = labels[row * SIDE + column]
    return result.reshape(len(motion), size, size).cpu().numpy()


def flows(
    body: Body, motion: Motion, windows: npt.ArrayLike, size: int, other: Motion, square: npt.ArrayLike
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Where what each pixel shows is in the picture of one other frame, and whether it is seen there.

    `motion` and `windows` (N, 3): N pictures. `other` and `square` (1, 3): the other one.

    First, (N, size, size, 2) float32: how far to the right and down, pixels. A picture shows at a pixel's centre p what
    the other one shows at p + flow. What lies behind the person stands still in the whole picture. Second,
    (N, size, size) bool: whether p + flow lies within the other picture, and nothing there hides the point.
    """
    there = posed(body, other)[0]
    window = torch.from_numpy(np.array(square, np.float32)).to(body.device)
    pixels, depth = project(there[body.corner_vertex], body.person.distance)
    surface = Surface(in_window(pixels[None], window, size)[0], depth, body.triangles, size)
    flow = torch.empty(len(motion), size * size, 2, device=body.device)
    seen = torch.empty(len(motion), size * size, dtype=torch.bool, device=body.device)
    step = torch.arange(size, device=body.device) + 0.5
    centres = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).reshape(-1, 2)
    squares = torch.from_numpy(np.array(windows, np.float32)).to(body.device)
    for start, found in _seen(body, motion, windows, size):
        frames = squares[start : start + BATCH, None]
        behind = in_window(centres * (frames[..., 2:] / size) + frames[..., :2], window, size)
        place = behind.reshape(-1, 2)
        far = place.new_full((len(place),), torch.inf)
        faces_us = torch.ones_like(far, dtype=torch.bool)
        corners = there[body.corner_vertex[body.triangles[found.triangle]]]
        pixels, depth = project(corners.mul(found.weights[..., None]).sum(1), body.person.distance)
        place[found.pixel] = in_window(pixels[None], window, size)[0]
        far[found.pixel] = depth
        faces_us[found.pixel] = surface.faces_us[found.triangle]
        flow[start : start + BATCH] = place.reshape(-1, size * size, 2) - centres
        seen[start : start + BATCH] = (faces_us & surface.shows(place, far)).reshape(-1, size * size)
    shape = (len(motion), size, size)
    return flow.reshape(*shape, 2).cpu().numpy(), seen.reshape(shape).cpu().numpy()


def label_map(person: Person) -> npt.NDArray[np.uint8]:
    """(SIDE, SIDE) uint8 number in `LABELS` of each texel of a person's texture, the first row on top."""
    canvas = load_canvas()
    labels = np.full((SIDE, SIDE), LABELS.index("body"), np.uint8)
    kinds = np.where(_in_face(canvas.position), LABELS.index("face"), LABELS.index("body"))
    kinds[hair_cover(person) >= 0.5] = LABELS.index("hair")
    kinds[canvas.mouth] = LABELS.index("mouth")
    labels.reshape(-1)[canvas.texel] = kinds
    for name, label in (("teeth", "mouth"), ("tongue", "mouth"), ("lash", "face"), ("frame", "glasses")):
        block(labels, SWATCHES[name], SWATCH)[:] = LABELS.index(label)
    block(labels, SWATCHES["hair"], 2 * SWATCH)[:] = LABELS.index("hair")
    block(labels, EYE_CENTRE, EYE_RADIUS)[:] = LABELS.index("eyes")
    return labels


def _in_face(place: Array) -> npt.NDArray[np.bool_]:
    """(N,) which points (N, 3) of the average head lie in front of the ears, between jaw and hairline."""
    head = load_head()
    edge, height, reach = _around(head.vertices[head.landmarks[:JAW]])
    around, y, radius = _around(place)
    # What lies behind the jaw's edge, below the chin, may be as high as that edge.
    behind = (np.interp(around, edge, reach) - radius).clip(0)
    above = y >= np.interp(around, edge, height) + 2 * behind
    below = y <= np.interp(np.abs(around), *HAIRLINE.T) + FRAYED
    return np.asarray(above & below & (around >= edge[0]) & (around <= edge[-1]))


def _around(place: Array) -> tuple[npt.NDArray[np.floating], Array, npt.NDArray[np.floating]]:
    """Of points (N, 3): degrees around the head, 0 in front, height, and distance from the head's axis."""
    x, z = place[:, 0], place[:, 2] - HEAD_AXIS
    return np.degrees(np.arctan2(x, z)), place[:, 1], np.hypot(x, z)


def _seen(body: Body, motion: Motion, windows: npt.ArrayLike, size: int) -> Iterator[tuple[int, Fragments]]:
    """What pixels' centres show, a few frames at a time, and the number of the first of these frames."""
    squares = torch.from_numpy(np.array(windows, np.float32)).to(body.device)
    for start in range(0, len(motion), BATCH):
        pixels, depth = project(posed(body, motion[start : start + BATCH]), body.person.distance)
        pixels = in_window(pixels, squares[start : start + BATCH], size)
        yield (
            start,
            rasterise(pixels[:, body.corner_vertex], depth[:, body.corner_vertex], body.triangles, (size, size)),
        )
