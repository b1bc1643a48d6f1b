"""A person's skin, brows, lips, eyes and hair, painted once."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from icface.synthetic.canvas import EYE_CENTRE, EYE_RADIUS, SIDE, SWATCH, SWATCHES, Canvas, load_canvas
from icface.synthetic.people import Colour, Person

Array = npt.NDArray[np.float32]

BROW = np.array([[0.115, 7.44], [0.20, 7.475], [0.34, 7.50], [0.45, 7.48], [0.56, 7.42]])
"""x and y of the middle of the left brow: where the units of the brows move the face most."""
BROW_TAPER = np.array([0.85, 1.0, 1.0, 0.85, 0.55])
"""Thickness along it."""
HAIRLINE = np.array([[0, 7.98], [30, 7.97], [52, 7.84], [64, 7.6], [76, 7.5], [84, 7.15], [92, 7.16], [96, 7.42],
                     [112, 7.2], [125, 6.8], [150, 6.5], [180, 6.4]])  # fmt: skip
"""Degrees around the head, 0 in front, and the height of the edge of the hair there."""
HEAD_AXIS = 0.45
"""z of the axis around which these degrees count."""
FRINGE = -0.2
"""How much lower the hair begins on the forehead with a fringe."""


def hair_mask(position: Array, style: str, jitter: Array | float = 0.0) -> Array:
    """(N,) how far points (N, 3) of the average head are covered by hair, 0..1; `jitter` frays the edge, decimetres."""
    return _step(hair_depth(position, style) + jitter, 0.025)


def hair_depth(position: Array, style: str) -> Array:
    """(N,) how far points (N, 3) of the average head lie inside the edge of the hair, decimetres; negative outside."""
    if style == "bald":
        return np.full(len(position), -1, np.float32)
    around = np.degrees(np.arctan2(np.abs(position[:, 0]), position[:, 2] - HEAD_AXIS))
    edge = np.interp(around, *HAIRLINE.T)
    if style == "fringe":
        edge = edge + FRINGE * np.clip(1 - around / 60, 0, 1) ** 0.3
    ear = (np.abs(position[:, 0]) > 0.66) & (position[:, 1] < 7.42) & (position[:, 2] > 0.25) & (position[:, 2] < 0.75)
    return np.where(ear | (position[:, 1] < 6.2), -1, position[:, 1] - edge).astype(np.float32)


def beard_mask(position: Array, beard: str, jitter: Array | float = 0.0) -> Array:
    """(N,) the same for a beard."""
    x, y, z = np.abs(position[:, 0]), position[:, 1], position[:, 2]
    around = np.degrees(np.arctan2(x, z - HEAD_AXIS))
    moustache = _step(0.27 - x + jitter, 0.02) * _step(6.80 - y, 0.02) * _step(y - 6.66 + 0.5 * x, 0.02) * (z > 1.2)
    goatee = _step(0.2 - x + jitter, 0.03) * _step(6.52 - y, 0.02) * (z > 1.0)
    cheek = np.interp(around, [0, 20, 35, 60, 84, 92, 96], [6.5, 6.6, 6.68, 6.95, 7.15, 7.15, 6.0])
    jaw = _step(cheek - y + jitter, 0.05) * _step(y - 5.95 - 0.1 * jitter, 0.06) * _step(94 - around, 3)
    masks = {"moustache": moustache, "goatee": np.maximum(moustache, goatee), "none": np.zeros_like(x)}
    near_ear = (x > 0.66) & (z < 0.75)
    return np.where(near_ear, 0, masks.get(beard, np.maximum(moustache, jaw))).astype(np.float32)


def paint(person: Person) -> Array:
    """(SIDE, SIDE, 5) float32, the first row on top: linear reflectance, then depth of creases, 0..1.

    The first crease shows where brows are raised (lines of the forehead), the second where they are lowered.
    """
    canvas = load_canvas()
    rng = np.random.default_rng([*person.seed, 1])
    skin = _skin(person, canvas, rng)
    skin[canvas.mouth] = np.array((0.42, 0.13, 0.13)) * _step(canvas.position[canvas.mouth, 2:] - 1.25, 0.25)
    _clothe(skin, person, canvas.position)
    picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    picture.reshape(-1, 3)[canvas.texel] = skin
    patches: dict[str, Colour] = {
        "teeth": (0.88, 0.85, 0.78), "tongue": (0.62, 0.28, 0.28),
        "lash": _mixed(person.skin, 0.35 * (1 - person.lids)),
        "hair": person.hair, "frame": (0.10, 0.08, 0.08),
    }  # fmt: skip
    for name, colour in patches.items():
        block(picture, SWATCHES[name], SWATCH)[:] = colour
    _paint_hair_patch(picture, person, rng)
    _paint_eye(picture, person, rng)
    creases = np.zeros((SIDE * SIDE, 2), np.float32)
    creases[canvas.texel] = _creases(canvas.position, person.age)
    linear = np.clip(picture, 0, 1) ** 2.2
    return np.concatenate([linear, creases.reshape(SIDE, SIDE, 2)], axis=-1).astype(np.float32)


def hair_cover(person: Person) -> Array:
    """(N,) how far `paint` covers the canvas's texels with hair of the head, 0..1."""
    canvas = load_canvas()
    fine, middle, _ = _grain(canvas, np.random.default_rng([*person.seed, 1]))
    return hair_mask(canvas.position, person.hair_style, _fraying(fine, middle))


def block(picture: npt.NDArray[Any], centre: tuple[float, float], half: float) -> npt.NDArray[Any]:
    """The square of a texture (SIDE, SIDE, ...) around `centre`, to paint on."""
    left, top = round((centre[0] - half) * SIDE), round((1 - centre[1] - half) * SIDE)
    side = round(2 * half * SIDE)
    return picture[top : top + side, left : left + side]


def _grain(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """(N,) fine, middle and coarse noise of the skin; the first that is drawn for a texture."""
    fine, middle, coarse = (_noise(rng, cells).reshape(-1)[canvas.texel] for cells in (400, 90, 14))
    return fine, middle, coarse


def _fraying(fine: Array, middle: Array) -> Array:
    """(N,) how far hair reaches beyond its edge, decimetres."""
    return 0.010 * middle + 0.006 * fine


def _skin(person: Person, canvas: Canvas, rng: np.random.Generator) -> Array:
    place = canvas.position
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    fine, middle, coarse = _grain(canvas, rng)
    colour = np.array(person.skin) * (1 + 0.015 * fine + 0.015 * middle + 0.025 * coarse)[:, None]
    warm = _blob(x, y, 0.42, 6.95, 0.2) + 0.8 * _blob(x, y, 0, 6.93, 0.12) * (z > 1.4) + 0.3 * _blob(x, y, 0, 6.3, 0.15)
    warm = (warm + 0.8 * _step(x - 0.72, 0.03) * (y > 6.7)) * person.redness
    colour = _over(colour, np.array(person.skin) * (1.0, 0.72, 0.68), np.clip(warm, 0, 1) * 0.6)
    tired = _blob(x, y, 0.30, 7.17, 0.09) * (0.25 + 0.4 * person.age)
    tired += _blob(x, y, 0.33, 7.39, 0.12) * (0.2 + 0.5 * person.lids)
    colour = _over(colour, np.array(person.skin) * (0.62, 0.5, 0.52), tired * 0.6)
    colour = _over(colour, np.array(person.skin) * 0.6, _wrinkles(x, y, z, person.age))
    if person.freckles:
        spots = _step(_noise(rng, 260).reshape(-1)[canvas.texel] - 1.7, 0.3) * _blob(x, y, 0.25, 7.0, 0.32)
        colour = _over(colour, np.array(person.skin) * (0.62, 0.48, 0.42), spots * person.freckles)
    colour = _over(colour, np.array(person.lips) * (1 + 0.05 * middle)[:, None], canvas.lips * 0.85)
    rim = _step(0.012 - np.abs(y - 6.6 - 0.02 * np.cos(x * 12)), 0.006) * (x < 0.26) * (z > 1.3)
    colour = _over(colour, np.array(person.lips) * 0.45, rim * 0.5)
    stubble = np.clip(0.9 + 0.1 * fine, 0, 1)
    jitter = _fraying(fine, middle)
    if person.beard != "none":
        strength = 0.4 if person.beard == "stubble" else 0.92
        beard = np.array(person.brows) * (1 + 0.12 * fine)[:, None]
        colour = _over(colour, beard, beard_mask(place, person.beard, jitter) * strength * stubble)
    colour = _over(
        colour, np.array(person.brows) * (1 + 0.1 * fine)[:, None], _brows(x, y, z, person, rng, canvas) * 0.92
    )
    hair = np.array(person.hair) * (1 + 0.22 * _strands(place, rng))[:, None]
    strength = 0.75 if person.hair_style == "buzz" else 1.0
    return np.asarray(_over(colour, hair, hair_mask(place, person.hair_style, jitter) * strength), np.float32)


def _brows(x: Array, y: Array, z: Array, person: Person, rng: np.random.Generator, canvas: Canvas) -> Array:
    """(N,) cover of the brows: a curve with tapered ends and hairs across it."""
    along = np.interp(x, BROW[:, 0], BROW[:, 1]) + person.brow_height
    half = np.interp(x, BROW[:, 0], BROW_TAPER) * person.brow_thickness
    hairs = _noise(rng, 320).reshape(-1)[canvas.texel]
    within = _step(half - np.abs(y - along) + 0.003 * hairs, 0.012)
    ends = _step(x - BROW[0, 0] + 0.006 * hairs, 0.02) * _step(BROW[-1, 0] - x + 0.006 * hairs, 0.04)
    return np.asarray(within * ends * (z > 0.9) * np.clip(0.9 + 0.08 * hairs, 0, 1), np.float32)


def _wrinkles(x: Array, y: Array, z: Array, age: float) -> Array:
    """(N,) folds beside nose and mouth, and lines of the forehead."""
    fold = np.interp(y, [6.45, 6.6, 6.8, 6.95], [0.40, 0.38, 0.29, 0.19])
    depth = _step(0.01 - np.abs(x - fold), 0.035) * _step(y - 6.5, 0.1) * _step(6.97 - y, 0.1) * (z > 0.9)
    lines = np.clip(np.cos((y - 7.62 - 0.05 * x) * 2 * np.pi / 0.085) - 0.75, 0, 1) * 3
    forehead = lines * _step(y - 7.6, 0.04) * _step(7.88 - y, 0.05) * _step(0.5 - x, 0.1)
    return np.asarray(np.clip((0.1 + 0.35 * age) * depth + 0.35 * max(0.0, age - 0.3) * forehead, 0, 1), np.float32)


def _creases(place: Array, age: float) -> Array:
    """(N, 2) lines across the forehead, and the two between the brows."""
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    strength = (0.5 + 0.4 * age) * (z > 0.9)
    lines = np.clip(np.cos((y - 7.62 - 0.05 * x) * 2 * np.pi / 0.085) - 0.55, 0, 1) * 2.2
    forehead = lines * _step(y - 7.58, 0.03) * _step(7.86 - y, 0.05) * _step(0.48 - x, 0.1)
    between = _step(0.012 - np.abs(x - 0.065 - 0.1 * (y - 7.5)), 0.012) * _step(0.09 - np.abs(y - 7.5), 0.04)
    return np.asarray(np.stack([forehead, between], axis=1) * strength[:, None], np.float32)


def _strands(place: Array, rng: np.random.Generator) -> Array:
    """(N,) light and dark streaks that run from the crown downwards."""
    around = np.arctan2(place[:, 0], place[:, 2] - HEAD_AXIS) / (2 * np.pi) + 0.5
    down = (place[:, 1] - 6) / 3
    smooth = cv2.GaussianBlur(rng.normal(size=(16, 512)).astype(np.float32), (0, 0), sigmaX=0.8, sigmaY=1.5)
    table = np.asarray(smooth / np.std(smooth), np.float32)
    column = (around * 511).astype(int)
    row = np.clip(down, 0, 0.999) * 15
    above = row.astype(int)
    return np.asarray(table[above, column] * (1 - row % 1) + table[above + 1, column] * (row % 1), np.float32)


def _clothe(colour: Array, person: Person, place: Array) -> None:
    """Paint clothes up to a collar, which is lower in front than at the sides."""
    apart = (
        np.hypot(place[:, 0], 0.9 * (place[:, 2] - 0.25))
        - 0.62
        - 0.35 * np.clip(place[:, 2] - 0.2, 0, 1) * person.neckline
    )
    cloth = _step(apart, 0.012) * (place[:, 1] < 6)
    seam = 1 - 0.25 * _step(0.012 - np.abs(apart - 0.05), 0.008)
    colour[:] = _over(colour, np.array(person.clothes) * seam[:, None], cloth)


def _paint_hair_patch(picture: Array, person: Person, rng: np.random.Generator) -> None:
    """Streaks for hair that is not on the scalp: u runs around the head, v downwards."""
    patch = block(picture, SWATCHES["hair"], 2 * SWATCH)
    streaks = cv2.GaussianBlur(rng.normal(size=patch.shape[:2]).astype(np.float32), (0, 0), sigmaX=0.7, sigmaY=9)
    patch[:] = np.array(person.hair) * (1 + 0.2 * streaks / streaks.std())[..., None]


def _paint_eye(picture: Array, person: Person, rng: np.random.Generator) -> None:
    """White, iris with a dark rim, pupil; the highlight is the light's."""
    patch = block(picture, EYE_CENTRE, EYE_RADIUS)
    side = len(patch)
    grid = (np.arange(side) + 0.5) / side * 2 - 1
    radius = np.hypot(*np.meshgrid(grid, grid))
    angle = np.arctan2(*np.meshgrid(grid, grid))
    white = np.array((0.90, 0.87, 0.85)) * (1 - 0.25 * radius**2)[..., None]
    spokes = cv2.GaussianBlur(rng.normal(size=(1, 256)).astype(np.float32), (0, 0), 1.2)[0]
    spoke = spokes[((angle / (2 * np.pi) + 0.5) * 255).astype(int)] / spokes.std()
    iris = np.array(person.iris) * (1 + 0.15 * spoke + 0.5 * (0.42 - radius))[..., None]
    iris = _over(iris, np.array(person.iris) * 0.35, _step(radius - 0.39, 0.05))
    eye = _over(white, iris, _step(0.44 - radius, 0.03))
    patch[:] = _over(eye, np.array((0.02, 0.02, 0.02)), _step(0.18 - radius, 0.03))


def _mixed(skin: Colour, share: float) -> Colour:
    """Lashes: dark, softened by the skin behind them."""
    red, green, blue = (0.07 + share * part for part in skin)
    return red, green, blue


def _noise(rng: np.random.Generator, cells: int) -> Array:
    """(SIDE, SIDE) smooth noise of mean 0 and deviation 1, about `cells` bumps along each side."""
    small = rng.normal(size=(cells, cells)).astype(np.float32)
    large = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large / large.std(), np.float32)


def _step(value: npt.ArrayLike, width: float) -> Array:
    """0 below -width, 1 above width, smooth between."""
    part = np.clip((np.asarray(value, np.float32) + width) / (2 * width), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def _blob(x: Array, y: Array, at_x: float, at_y: float, radius: float) -> Array:
    return np.asarray(np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (radius * radius)), np.float32)


def _over(below: npt.ArrayLike, above: npt.ArrayLike, share: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`above` laid over `below` with cover `share`."""
    cover = np.asarray(share)[..., None]
    return np.asarray(below) * (1 - cover) + np.asarray(above) * cover
