"""What is worn beside the head's own surface: long hair, a bun, glasses. In the average head's coordinates."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.synthetic.canvas import SWATCH, SWATCHES
from icface.synthetic.people import Person
from icface.synthetic.texture import HEAD_AXIS

Array = npt.NDArray[np.float64]

# Heights from the crown down, and half width and half depth of the hair there.
FALL = np.array([[7.95, 0.70, 0.80], [7.6, 0.86, 0.95], [7.2, 0.95, 0.98], [6.8, 0.97, 0.95], [6.2, 0.95, 0.90],
                 [4.6, 1.05, 0.95]])  # fmt: skip
LENGTHS = {"bob": 6.15, "long": 5.0}
"""Height of the tips."""
OPENING = np.radians(112)
"""How far hair reaches around the head from behind, each way."""


@dataclass(frozen=True, eq=False)
class Accessory:
    """A surface, seen from both sides."""

    vertices: Array
    """(V, 3)."""
    uv: Array
    """(V, 2)."""
    triangles: npt.NDArray[np.int64]
    """(T, 3)."""
    head_weight: Array
    """(V,) how far a vertex follows the head's turn, 0..1."""
    rigid: bool
    """It keeps its form and only moves with the eyes' middle, as glasses do."""


def accessories(person: Person) -> list[Accessory]:
    """What this person wears."""
    rng = np.random.default_rng([*person.seed, 2])
    found = []
    if person.hair_style in LENGTHS:
        found.append(_curtain(LENGTHS[person.hair_style] + rng.uniform(-0.15, 0.15), rng))
    if person.hair_style == "bun":
        found.append(_bun(rng))
    if person.glasses:
        found.append(_glasses(rng))
    return found


def _curtain(tips: float, rng: np.random.Generator) -> Accessory:
    """Hair that falls from the scalp around the back and the sides."""
    rows, columns = 14, 49
    height = np.linspace(FALL[0, 0], tips, rows)
    width, depth = (np.interp(height, FALL[::-1, 0], FALL[::-1, column]) for column in (1, 2))
    around = np.linspace(-OPENING, OPENING, columns)
    wave = 0.03 * np.sin(around * rng.integers(7, 12) + rng.uniform(0, 6))
    grow = 1 + wave[None] * np.linspace(0, 1, rows)[:, None] + rng.normal(0, 0.006, (rows, columns))
    ragged = rng.normal(0, 0.05, columns)[None] * (np.linspace(0, 1, rows) ** 4)[:, None]
    vertices = np.stack(
        [
            width[:, None] * np.sin(around)[None] * grow,
            height[:, None] + ragged,
            HEAD_AXIS - depth[:, None] * np.cos(around)[None] * grow,
        ],
        axis=-1,
    )
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(1, -1, rows))
    uv = np.array(SWATCHES["hair"]) + 1.9 * SWATCH * np.stack([u, v], axis=-1)
    follow = np.clip((vertices[..., 1] - 4.9) / 1.8, 0.15, 1)
    return _sheet(vertices, uv, follow)


def _bun(rng: np.random.Generator) -> Accessory:
    rows, columns = 9, 17
    centre, radius = np.array([0, rng.uniform(7.7, 8.55), -0.25]), rng.uniform(0.25, 0.36)
    down, around = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    ball = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1)
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(1, -1, rows))
    uv = np.array(SWATCHES["hair"]) + 1.9 * SWATCH * np.stack([u, v], axis=-1)
    return _sheet(centre + radius * ball, uv, np.ones((rows, columns)))


def _glasses(rng: np.random.Generator) -> Accessory:
    """Two rims, a bridge and temples."""
    thick, round_share = rng.uniform(0.012, 0.026), rng.uniform(2, 4)
    half_width, half_height = rng.uniform(0.22, 0.26), rng.uniform(0.13, 0.17)
    front, level, middle = 1.62, 7.22, 0.33  # rims below the brows: a bar that stands still hides that they move
    parts = []
    angle = np.linspace(0, 2 * np.pi, 33)
    # A superellipse: from round to nearly rectangular glasses.
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / round_share)
    upwards = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / round_share)
    for side in (-1, 1):
        rims = []
        for grow, back in ((0, 0.03), (0, 0), (thick, 0), (thick, 0.03)):
            x = side * (middle + (half_width + grow) * across)
            y = level + (half_height + grow) * upwards
            rims.append(np.stack([x, y, front - back - 0.25 * (np.abs(x) - 0.1) ** 2], axis=-1))
        parts.append(_plain(np.stack(rims)))
        outer = middle + half_width
        start, end = np.array([side * outer, level + 0.05, front - 0.06]), np.array([side * 0.80, level + 0.02, 0.55])
        parts.append(
            _plain(np.stack([np.stack([p + np.array((0, h, 0)) for p in (start, end)]) for h in (thick, -thick)]))
        )
    inner = middle - half_width
    bridge = [np.stack([(x, level + 0.06 + h, front) for x in (-inner, 0, inner)]) for h in (thick, -thick)]
    parts.append(_plain(np.stack(bridge)))
    return _joined(parts, rigid=True)


def _plain(vertices: Array) -> Accessory:
    uv = np.broadcast_to(np.array(SWATCHES["frame"]), (*vertices.shape[:2], 2))
    return _sheet(vertices, uv, np.ones(vertices.shape[:2]))


def _sheet(vertices: Array, uv: Array, follow: Array) -> Accessory:
    """A grid (R, C, 3) as a surface of two sides, each with its own vertices, so that each has its own normals."""
    rows, columns = vertices.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    front = np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))])
    triangles = np.concatenate([front, front[:, ::-1] + rows * columns])
    twice = [np.concatenate([values.reshape(rows * columns, -1)] * 2) for values in (vertices, uv, follow)]
    return Accessory(twice[0], twice[1], triangles, twice[2][:, 0], rigid=False)


def _joined(parts: list[Accessory], rigid: bool) -> Accessory:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Accessory(
        vertices=np.concatenate([part.vertices for part in parts]),
        uv=np.concatenate([part.uv for part in parts]),
        triangles=np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]),
        head_weight=np.concatenate([part.head_weight for part in parts]),
        rigid=rigid,
    )
