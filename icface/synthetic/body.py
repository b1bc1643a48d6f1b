"""A person as a surface: mesh, units, texture and shade, ready to be posed and rendered."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.analyzers.landmark_geometry import CANONICAL
from icface.synthetic.accessories import Accessory, accessories
from icface.synthetic.canvas import corner_uv
from icface.synthetic.geometry import PIVOT, head_rotation
from icface.synthetic.head import PARTS, UNIT_NAMES, Head, load_head
from icface.synthetic.people import Person
from icface.synthetic.raster import rasterise
from icface.synthetic.texture import beard_mask, hair_depth, paint

THICKNESS = {
    "buzz": 0.02,
    "short": 0.10,
    "swept": 0.16,
    "fringe": 0.11,
    "afro": 0.34,
    "bob": 0.13,
    "long": 0.11,
    "bun": 0.06,
}
"""How far hair stands off the scalp, decimetres."""
BEARD_THICKNESS = {"full": 0.05, "goatee": 0.03}
WORN = len(PARTS)
"""Number of the part that accessories are."""
LID_LANDMARKS = (((43, 47), (44, 46)), ((37, 41), (38, 40)))
"""Upper and lower lid of the person's left eye and of the right one, iBUG points."""
GAINS = {
    "browInnerUp": 2.4,
    "browOuterUp": 1.8,
    "browDown": 1.8,
    "mouthUpperUp": 1.4,
    "mouthLowerDown": 1.6,
}
"""How much further brows and lips move than by these targets, 5 to 7 mm: to about 10 mm, as people can."""
INNER_BROW = ((0.20, 0.35), (1.0, 0.3))
"""Distance to the side, decimetres, and share of browInnerUp's movement there. ARKit's unit raises the inner part
alone. The target lifts the middle of the brow, too, and MediaPipe reads that as a raised outer brow."""
UPPER_TEETH, LOWER_TEETH = 0.03, 0.07
"""How far they are lowered, decimetres."""
TEETH_BACK = 0.04
"""How far the lower ones are set back: a smile with an open jaw would pull the chin behind them."""
SHADE_DIRECTIONS, SHADE_SIDE = 28, 96
"""How many directions, and pixels a side, the shade in hollows is measured from."""
SHADE_BIAS = 0.03
"""Decimetres by which something must be nearer to throw shade."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Body:
    """A person's surface, on one device."""

    person: Person
    vertices: Tensor
    """(V, 3) at rest, decimetres, x right, y up, z towards the camera."""
    units: Tensor
    """(52, V, 3) displacement of each of `UNIT_NAMES` at full weight."""
    head_weight: Tensor
    """(V,) how far a vertex follows the head's turn, 0..1."""
    triangles: Tensor
    """(T, 3) corners."""
    corner_vertex: Tensor
    """(C,)."""
    corner_uv: Tensor
    """(C, 2) place in the texture, 0..1, v upwards."""
    triangle_part: Tensor
    """(T,) number in `PARTS`, or `WORN`."""
    around: Tensor
    """(V, D) triangles at each vertex, filled up with T."""
    landmarks: Tensor
    """(68,) vertices."""
    texture: Tensor
    """(SIDE, SIDE, 5) linear reflectance, and creases of raised and of lowered brows, 0..1."""
    shade: Tensor
    """(V,) share of the light from everywhere that reaches a vertex, 0..1."""

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.vertices.device


def build_body(person: Person, device: str | torch.device = "cpu") -> Body:
    """The surface of a person. Takes about a second of one core."""
    head = load_head()
    moved = head.displacement(dict(person.shape))
    moved -= moved[np.concatenate(head.eyes)].mean(axis=0)  # descent and age change the height, too
    rest = head.vertices + moved
    units = _fitted_lids(head, rest, head.unit_basis())
    for name, gain in GAINS.items():
        units[[index for index, unit in enumerate(UNIT_NAMES) if unit.startswith(name)]] *= np.float32(gain)
    aside = np.interp(np.abs(head.vertices[:, 0]), *INNER_BROW)
    units[UNIT_NAMES.index("browInnerUp")] *= aside[:, None].astype(np.float32)
    rest = rest + _teeth_moved(head)
    rest = rest + _hair_relief(head, rest, person)
    corner_vertex, uv, triangles, part = head.corner_vertex, corner_uv(head), head.triangles, head.triangle_part
    follow = head.head_weight
    for worn in accessories(person):
        triangles = np.concatenate([triangles, worn.triangles + len(corner_vertex)])
        corner_vertex = np.concatenate([corner_vertex, np.arange(len(worn.vertices)) + len(rest)])
        uv = np.concatenate([uv, worn.uv])
        part = np.concatenate([part, np.full(len(worn.triangles), WORN, np.uint8)])
        follow = np.concatenate([follow, worn.head_weight])
        rest = np.concatenate([rest, worn.vertices + _carried(head, moved, worn)])
        units = np.concatenate([units, np.zeros((len(units), len(worn.vertices), 3), np.float32)], axis=1)
    rest, units = _levelled(head, rest, units, follow)
    vertices = torch.from_numpy(rest.astype(np.float32))
    faces = corner_vertex[triangles]
    around = torch.from_numpy(_around(faces, len(rest)))
    shade = _shade(vertices, normals(vertices[None], torch.from_numpy(faces), around)[0], torch.from_numpy(faces))
    tensors = {
        "vertices": vertices,
        "units": torch.from_numpy(units.astype(np.float32)),
        "head_weight": torch.from_numpy(follow.astype(np.float32)),
        "triangles": torch.from_numpy(triangles),
        "corner_vertex": torch.from_numpy(corner_vertex),
        "corner_uv": torch.from_numpy(uv.astype(np.float32)),
        "triangle_part": torch.from_numpy(part),
        "around": around,
        "landmarks": torch.from_numpy(head.landmarks),
        "texture": torch.from_numpy(paint(person)),
        "shade": shade,
    }
    return Body(person=person, **{name: tensor.to(device) for name, tensor in tensors.items()})


def normals(vertices: Tensor, faces: Tensor, around: Tensor) -> Tensor:
    """(B, V, 3) unit normals of vertices (B, V, 3); `faces` (T, 3) vertices, `around` (V, D) triangles at each vertex.

    Sums are taken in a fixed order, so they are the same on every run, on a GPU too.
    """
    a, b, c = vertices[:, faces].unbind(2)
    across = torch.cross(b - a, c - a, dim=-1)
    across = torch.cat([across, across.new_zeros(len(across), 1, 3)], dim=1)
    return torch.nn.functional.normalize(across[:, around].sum(2), dim=-1)


def _fitted_lids(head: Head, rest: Array, units: Array) -> Array:
    """The units with blinks that close this person's eyes as they close the average ones, whatever their height."""

    def gap(vertices: Array, pairs: tuple[tuple[int, int], ...]) -> float:
        upper, lower = (head.landmarks[[pair[end] for pair in pairs]] for end in (0, 1))
        return float((vertices[upper, 1] - vertices[lower, 1]).mean())

    for side, pairs in zip(("Left", "Right"), LID_LANDMARKS, strict=True):
        units[UNIT_NAMES.index(f"eyeBlink{side}")] *= gap(rest, pairs) / gap(head.vertices, pairs)
    return units


def _teeth_moved(head: Head) -> Array:
    """(V, 3) MakeHuman's teeth stand too high: a slightly open mouth would show the lower ones alone."""
    moved = np.zeros_like(head.vertices)
    teeth = np.unique(head.corner_vertex[head.triangles[head.triangle_part == PARTS.index("teeth")]])
    upper = head.vertices[teeth, 1] > np.median(head.vertices[teeth, 1])
    moved[teeth, 1] = np.where(upper, -UPPER_TEETH, -LOWER_TEETH)
    moved[teeth, 2] = np.where(upper, 0, -TEETH_BACK)
    return moved


def _levelled(head: Head, rest: Array, units: Array, follow: Array) -> tuple[Array, Array]:
    """A head that looks straight ahead as the canonical face does that analyzers fit: turned about its neck.

    Without this, each shape of face would have a pitch of its own at rest, 4 degrees on average.
    """
    face, canonical = (points - points.mean(axis=0) for points in (rest[head.landmarks], CANONICAL * (1, -1, -1)))
    u, _, vt = np.linalg.svd(face.T @ canonical)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt  # the canonical face turned so lies best on this one
    pitch = float(np.arctan2(turn[2, 1] - turn[1, 2], turn[1, 1] + turn[2, 2]))
    back = head_rotation([[-pitch, 0, 0]])[0]
    turned = (rest - PIVOT) @ back.T + PIVOT
    share = follow[:, None]
    return (rest * (1 - share) + turned * share).astype(np.float32), (units @ back.T).astype(np.float32)


def _hair_relief(head: Head, rest: Array, person: Person) -> Array:
    """(V, 3) how far hair and beard lift the surface off the skin."""
    rng = np.random.default_rng([*person.seed, 3])
    faces = head.corner_vertex[head.triangles]
    outwards = normals(
        torch.from_numpy(rest)[None], torch.from_numpy(faces), torch.from_numpy(_around(faces, len(rest)))
    )[0].numpy()
    place = head.vertices
    uneven = 1 + 0.06 * rng.normal(size=len(rest))
    thickness = THICKNESS.get(person.hair_style, 0.0)
    # Full thickness only well inside the edge: a step there would show bare skin on its side.
    hair = np.clip(hair_depth(place, person.hair_style) / max(0.04, thickness), 0, 1) ** 0.5 * thickness
    if person.hair_style == "swept":
        # More on top, to one side.
        hair = hair * np.clip(0.35 + 1.2 * (place[:, 1] - 7.5) + 0.4 * place[:, 0], 0.3, 1.6)
    beard = beard_mask(place, person.beard) * BEARD_THICKNESS.get(person.beard, 0.0)
    skin = np.zeros(len(rest), bool)
    skin[faces[head.triangle_part == PARTS.index("skin")].reshape(-1)] = True
    return np.asarray(outwards * ((hair + beard) * uneven * skin)[:, None], np.float32)


def _carried(head: Head, moved: Array, worn: Accessory) -> npt.NDArray[np.float64]:
    """How far this person's shape moves each vertex of an accessory, (V, 3) or (3,)."""
    if worn.rigid:
        return np.asarray(moved[head.landmarks[27:31]].mean(axis=0) * (0, 0.5, 1), np.float64)
    outer = np.flatnonzero(head.vertices[:, 1] > 6.9)
    apart = ((worn.vertices[:, None] - head.vertices[outer][None]) ** 2).sum(-1)
    shares = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / 0.08)
    return np.asarray(shares @ moved[outer] / shares.sum(axis=1, keepdims=True), np.float64)


def _around(faces: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """(count, D) the triangles at each vertex in ascending order, filled up with the number of triangles."""
    vertex = faces.reshape(-1)
    triangle = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(vertex, kind="stable")
    vertex, triangle = vertex[order], triangle[order]
    degree = np.bincount(vertex, minlength=count)
    table = np.full((count, degree.max()), len(faces))
    slot = np.arange(len(vertex)) - (np.cumsum(degree) - degree)[vertex]
    table[vertex, slot] = triangle
    return table


def _shade(vertices: Tensor, outwards: Tensor, faces: Tensor) -> Tensor:
    """(V,) how open each vertex of a face at rest is to its surroundings, by looking from many directions."""
    number = torch.arange(SHADE_DIRECTIONS) + 0.5
    # Evenly spread over the front half of a sphere (a Fibonacci lattice).
    z = 1 - 1.2 * number / SHADE_DIRECTIONS
    angle = number * torch.pi * (3 - 5**0.5)
    flat = (1 - z * z).sqrt()
    directions = torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=-1)
    centre = torch.tensor([0.0, 6.9, 0.6])
    right = torch.nn.functional.normalize(
        torch.cross(torch.tensor([0.0, 1, 0]).expand_as(directions), directions, dim=-1), dim=-1
    )
    up = torch.cross(directions, right, dim=-1)
    turned = torch.einsum("vi,dci->dvc", vertices - centre, torch.stack([right, up, directions], dim=1))
    scale = SHADE_SIDE / 3.6
    points = torch.stack([turned[..., 0] * scale, -turned[..., 1] * scale], dim=-1) + SHADE_SIDE / 2
    depth = 10 - turned[..., 2]
    found = rasterise(points, depth, faces, (SHADE_SIDE, SHADE_SIDE), cull=False)
    nearest = torch.full((SHADE_DIRECTIONS * SHADE_SIDE * SHADE_SIDE,), 100.0)
    nearest[found.pixel] = found.depth
    at = points.floor().long().clamp(0, SHADE_SIDE - 1)
    index = (torch.arange(SHADE_DIRECTIONS)[:, None] * SHADE_SIDE + at[..., 1]) * SHADE_SIDE + at[..., 0]
    seen = (depth <= nearest[index] + SHADE_BIAS + 0.5 / scale).float()
    facing = (directions @ outwards.T).clamp_min(0)
    return (seen * facing).sum(0) / facing.sum(0).clamp_min(0.3)
