"""The texture's layout: where each texel lies on the average face, so that painting can be done in space."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import torch

from icface.synthetic.head import PARTS, Head, load_head
from icface.synthetic.raster import rasterise

SIDE = 1024
"""Texels along the texture."""
MARGIN = 4
"""Texels around each patch that are painted too, for samples between texels."""
EYE_CENTRE, EYE_RADIUS = (0.15, 0.30), 0.10
"""The eyeball seen from the front; both eyes share it. Nothing else lies there."""
SWATCHES = {
    "teeth": (0.32, 0.30),
    "tongue": (0.36, 0.30),
    "lash": (0.40, 0.30),
    "hair": (0.40, 0.40),
    "frame": (0.44, 0.30),
}
"""Middles of patches of one colour."""
SWATCH = 0.015
"""Half a patch's side."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Canvas:
    """Texels that are painted, and what they are."""

    texel: npt.NDArray[np.int64]
    """(N,) index into the SIDE x SIDE texels, the first row on top."""
    position: Array
    """(N, 3) place on the average face at rest."""
    mouth: npt.NDArray[np.bool_]
    """(N,) inside of the mouth."""
    lips: Array
    """(N,) 0..1."""


def corner_uv(head: Head) -> Array:
    """(C, 2) each corner's place in the texture: MakeHuman's for skin and mouth, ours for the rest."""
    uv = head.corner_uv.copy()
    for eye in head.eyes:
        corners = np.isin(head.corner_vertex, eye)
        place = head.vertices[head.corner_vertex[corners]] - head.vertices[eye].mean(axis=0)
        radius = np.ptp(head.vertices[eye][:, 0]) / 2
        uv[corners] = np.array(EYE_CENTRE) + EYE_RADIUS * place[:, :2] / radius
    for name in ("teeth", "tongue", "lash"):
        uv[np.unique(head.triangles[head.triangle_part == PARTS.index(name)])] = SWATCHES[name]
    return uv


@cache
def load_canvas() -> Canvas:
    """The canvas of `load_head`; made once."""
    head = load_head()
    painted = np.flatnonzero(head.triangle_part < PARTS.index("eye"))
    triangles = torch.from_numpy(head.triangles[painted])
    places = torch.from_numpy(head.corner_uv * (SIDE, -SIDE) + (0, SIDE)).float()
    found = rasterise(places[None], torch.ones(1, len(places)), triangles, (SIDE, SIDE), cull=False)
    values = torch.from_numpy(head.vertices[head.corner_vertex])[None]
    covered = np.zeros(SIDE * SIDE, np.uint8)
    covered[found.pixel.numpy()] = 1
    distance, label = cv2.distanceTransformWithLabels(
        1 - covered.reshape(SIDE, SIDE), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(label.max() + 1, np.int64)
    fragment = np.zeros(SIDE * SIDE, np.int64)
    fragment[found.pixel.numpy()] = np.arange(len(found.pixel))
    inside = np.flatnonzero(covered)
    nearest[label.reshape(-1)[inside]] = fragment[inside]
    texel = np.flatnonzero(distance.reshape(-1) < MARGIN)
    source = nearest[label.reshape(-1)[texel]]
    part = head.triangle_part[painted[found.triangle.numpy()[source]]]
    return Canvas(
        texel=texel,
        position=found.interpolate(values, triangles).numpy()[source],
        mouth=part == PARTS.index("mouth"),
        lips=_lips(head, texel),
    )


def _lips(head: Head, texel: npt.NDArray[np.int64]) -> Array:
    left, bottom, right, top = head.lips_box
    whole = np.zeros((SIDE, SIDE), np.float32)
    rows, columns = (
        slice(round((1 - top) * SIDE), round((1 - bottom) * SIDE)),
        slice(round(left * SIDE), round(right * SIDE)),
    )
    shape = whole[rows, columns].shape
    whole[rows, columns] = cv2.resize(head.lips, (shape[1], shape[0]))
    return whole.reshape(-1)[texel]
