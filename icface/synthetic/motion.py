"""How a synthetic person moves: smooth curves of units, pose and gaze, drawn from a seed."""

import numpy as np
import numpy.typing as npt

from icface.attributes import POSE_NAMES
from icface.synthetic.camera import Motion
from icface.synthetic.head import UNIT_NAMES

FPS = 25.0
POSE_SPREAD = np.radians((7.0, 15.0, 6.0))
"""Deviation of pitch, yaw and roll."""
POSE_LIMIT = np.radians((20.0, 38.0, 20.0))
STILLS: tuple[tuple[tuple[str, ...], ...], ...] = (
    ((), ("browInnerUp",), ("browInnerUp", "browOuterUp"), ("browOuterUp",), ("browDown",)),
    ((), ("eyeWide",), ("eyeSquint",), ("eyeBlink",)),
    ((), ("mouthSmile",), ("mouthSmile", "jawOpen"), ("jawOpen",), ("mouthUpperUp", "mouthLowerDown"), ("mouthFrown",),
     ("mouthDimple",), ("mouthStretch",), ("mouthPress",), ("mouthShrugLower",), ("noseSneer",)),
)  # fmt: skip
"""What brows, eyes and mouth may do in stills."""
STILL_POSE = (15.0, 35.0, 15.0)
"""Largest pitch, yaw and roll of stills, degrees."""
SINGLE_MOVES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",), "AU02": ("browOuterUp",), "AU04": ("browDown",), "AU05": ("eyeWide",),
    "AU06": ("cheekSquint",), "AU07": ("eyeSquint",), "AU09": ("noseSneer",), "AU10": ("mouthUpperUp",),
    "AU12": ("mouthSmile",), "AU14": ("mouthDimple",), "AU15": ("mouthFrown",), "AU17": ("mouthShrugLower",),
    "AU20": ("mouthStretch",), "AU23": ("mouthPress",), "AU25": ("mouthLowerDown", "mouthUpperUp"),
    "AU26": ("jawOpen",), "AU45": ("eyeBlink",),
}  # fmt: skip
"""Action unit: the ARKit units that move for it in `single_moves`."""
TURNS: dict[str, tuple[float, ...]] = {"pose_pitch": (-15, 15), "pose_yaw": (-30, -15, 15, 30), "pose_roll": (-15, 15)}
"""Degrees."""
GAZE_DEGREES = 24.0
"""How far the eyes turn at full weight of a gaze unit."""
GESTURES: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.3},
    {"mouthSmile": 0.8, "mouthUpperUp": 0.4, "mouthLowerDown": 0.3, "jawOpen": 0.25, "cheekSquint": 0.6},
    {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.7, "jawOpen": 0.4},
    {"browInnerUp": 1.0},
    {"browOuterUp": 0.9, "browInnerUp": 0.5},
    {"browDown": 1.0, "eyeSquint": 0.4},
    {"browDown": 0.7, "noseSneer": 0.9, "mouthUpperUp": 0.5},
    {"browInnerUp": 0.8, "mouthFrown": 0.9, "mouthShrugLower": 0.6},
    {"mouthPucker": 0.9},
    {"mouthFunnel": 0.7, "jawOpen": 0.2},
    {"mouthPress": 0.9, "mouthDimple": 0.4},
    {"mouthDimple": 0.9},
    {"mouthStretch": 0.9, "jawOpen": 0.2, "browInnerUp": 0.4},
    {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.5},
    {"mouthRollLower": 0.7, "mouthRollUpper": 0.6},
    {"jawOpen": 0.9},
    {"eyeWide": 0.9},
    {"eyeSquint": 0.9},
    {"cheekPuff": 0.7},
    {"eyeBlink": 0.6},
)
"""Units that people move together, of both sides at once, and their weights at the strongest."""
SINGLE = ("browInnerUp", "browOuterUp", "browDown", "eyeWide", "eyeSquint", "mouthSmile", "jawOpen", "mouthUpperUp",
          "mouthFrown", "mouthDimple", "mouthStretch", "mouthPress", "mouthShrugLower", "noseSneer",
          "cheekSquint")  # fmt: skip
"""Units that also move alone, so that no two of them always go together."""

Array = npt.NDArray[np.float32]


def draw_motion(frames: int, *seed: int, fps: float = FPS) -> Motion:
    """A motion of `frames` frames that a seed, which may be several numbers, decides."""
    rng = np.random.default_rng([*seed, 6])
    weights = {name: np.zeros(frames) for name in UNIT_NAMES}
    pose = np.clip(
        _wander(rng, frames, 3, fps * 0.8) * POSE_SPREAD + rng.normal(0, 0.4, 3) * POSE_SPREAD, -POSE_LIMIT, POSE_LIMIT
    )
    _gesticulate(weights, rng, frames, fps)
    _speak(weights, rng, frames, fps)
    for name in SINGLE:
        curve = np.clip(_wander(rng, frames, 1, fps * 0.5)[:, 0] - 1.0, 0, None) * 0.4
        _add(weights, name, curve, rng)
    _look(weights, pose, rng, frames, fps)
    _blink(weights, rng, frames, fps)
    units = np.clip(np.stack([weights[name] for name in UNIT_NAMES], axis=1), 0, 1)
    place = _wander(rng, frames, 3, fps) * (0.08, 0.05, 0.15) + rng.uniform(-1, 1, 3) * (0.2, 0.1, 0.5)
    return Motion(units.astype(np.float32), pose.astype(np.float32), place.astype(np.float32))


def single_moves() -> tuple[Motion, tuple[str, ...]]:
    """One thing at a time: two still frames, each of `SINGLE_MOVES` at half and full strength, each of `TURNS`.

    Second, the attribute that each frame moves, empty for none (`icface.attributes`).
    """
    rows: list[tuple[str, dict[str, float], tuple[float, float, float]]] = [("", {}, (0, 0, 0))] * 2
    for attribute, names in SINGLE_MOVES.items():
        rows += [(attribute, dict.fromkeys(names, strength), (0, 0, 0)) for strength in (0.5, 1.0)]
    for attribute, angles in TURNS.items():
        for angle in angles:
            rows.append((attribute, {}, tuple(angle * (attribute == name) for name in POSE_NAMES)))  # type: ignore[arg-type]
    units = np.zeros((len(rows), len(UNIT_NAMES)), np.float32)
    for row, (_, weights, _) in zip(units, rows, strict=True):
        for name, weight in weights.items():
            row[[UNIT_NAMES.index(side) for side in _sides(name)]] = weight
    pose = np.radians(np.array([turn for _, _, turn in rows], np.float32))
    return Motion(units, pose, np.zeros((len(rows), 3), np.float32)), tuple(attribute for attribute, _, _ in rows)


def draw_stills(frames: int, *seed: int) -> Motion:
    """Frames that have nothing to do with each other, to measure analyzers on.

    In each, brows, eyes and mouth do one of `STILLS` each. So no unit undoes or always goes with another one. Every
    choice comes as often as another, and as often weakly as strongly: by chance alone some people would never raise a
    brow. Every pose within `STILL_POSE` is as likely as another.
    """
    rng = np.random.default_rng([*seed, 7])
    units = np.zeros((frames, len(UNIT_NAMES)))
    for choices in STILLS:
        rounds = -(-frames // len(choices))
        chosen = np.concatenate([rng.permutation(len(choices)) for _ in range(rounds)])[:frames]
        for number, names in enumerate(choices):
            (rows,) = np.nonzero(chosen == number)
            strength = (rng.permutation(len(rows)) + rng.uniform(0, 1, len(rows))) / max(len(rows), 1)
            sides = [index for index, unit in enumerate(UNIT_NAMES) for name in names if unit in _sides(name)]
            units[rows[:, None], sides] = strength[:, None]
    pose = rng.uniform(-1, 1, (frames, 3)) * np.radians(STILL_POSE)
    return Motion(units.astype(np.float32), pose.astype(np.float32), np.zeros((frames, 3), np.float32))


def _sides(name: str) -> tuple[str, ...]:
    """The units that a name without a side stands for."""
    return (name,) if name in UNIT_NAMES else (f"{name}Left", f"{name}Right")


def _add(
    weights: dict[str, npt.NDArray[np.float64]], name: str, curve: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Add a curve to a unit, or to both of its sides, which are never quite equal."""
    if name in weights:
        weights[name] += curve
        return
    lopsided = 1 - np.abs(rng.normal(0, 0.12)) if rng.random() < 0.9 else rng.uniform(0, 1)
    strong, weak = rng.permutation(("Left", "Right"))
    weights[f"{name}{strong}"] += curve
    weights[f"{name}{weak}"] += curve * max(lopsided, 0)


def _gesticulate(
    weights: dict[str, npt.NDArray[np.float64]], rng: np.random.Generator, frames: int, fps: float
) -> None:
    """Gestures that rise, stay and fall, about one every one and a half seconds."""
    time = np.arange(frames) / fps
    start = rng.uniform(-1, 0.3)
    while start < frames / fps:
        rise, stay, fall = rng.uniform(0.15, 0.5), rng.uniform(0.1, 1.2), rng.uniform(0.2, 0.7)
        envelope = _smooth((time - start) / rise) * _smooth((start + rise + stay + fall - time) / fall)
        strength = rng.uniform(0.35, 1.1)
        for name, weight in GESTURES[rng.integers(len(GESTURES))].items():
            _add(weights, name, envelope * strength * weight * rng.uniform(0.7, 1.1), rng)
        start += rise + stay + fall + rng.uniform(-0.4, 0.9)


def _speak(weights: dict[str, npt.NDArray[np.float64]], rng: np.random.Generator, frames: int, fps: float) -> None:
    """Speech: the jaw at the rate of syllables, lips with it; in part of the time only."""
    speaking = _smooth(_wander(rng, frames, 1, fps * 0.8)[:, 0] * 2 + rng.uniform(-0.5, 1.5))
    syllables = np.clip(_wander(rng, frames, 5, fps * 0.09), 0, None) * speaking[:, None]
    for column, (name, weight) in enumerate(
        (("jawOpen", 0.28), ("mouthFunnel", 0.25), ("mouthPucker", 0.2), ("mouthLowerDown", 0.3), ("mouthUpperUp", 0.2))
    ):
        _add(weights, name, syllables[:, column] * weight, rng)


def _look(
    weights: dict[str, npt.NDArray[np.float64]],
    pose: npt.NDArray[np.float64],
    rng: np.random.Generator,
    frames: int,
    fps: float,
) -> None:
    """Gaze that jumps from place to place and partly stays on the camera while the head turns."""
    held = np.repeat(rng.normal(0, 1, (frames, 2)), np.clip(rng.poisson(fps * 0.9, frames), 2, None), axis=0)[:frames]
    aside = held[:, 0] * 7 + 0.5 * np.degrees(pose[:, 1])  # against the turn: to the picture's right for a turn left
    up = held[:, 1] * 5 + 0.5 * np.degrees(pose[:, 0])
    right, left, high, low = (np.clip(value / GAZE_DEGREES, 0, 1) for value in (aside, -aside, up, -up))
    weights["eyeLookOutLeft"] += right
    weights["eyeLookInRight"] += right
    weights["eyeLookInLeft"] += left
    weights["eyeLookOutRight"] += left
    for side in ("Left", "Right"):
        weights[f"eyeLookUp{side}"] += high
        weights[f"eyeLookDown{side}"] += low


def _blink(weights: dict[str, npt.NDArray[np.float64]], rng: np.random.Generator, frames: int, fps: float) -> None:
    """A blink every three seconds or so; lids that are closed do not also open wide or squint."""
    time = np.arange(frames) / fps
    at = rng.uniform(0, 2)
    closed = np.zeros(frames)
    while at < frames / fps:
        length = rng.uniform(0.07, 0.14)
        closed = np.maximum(closed, np.exp(-(((time - at) / length) ** 4)))
        at += rng.exponential(2.5) + 0.4
    for side in ("Left", "Right"):
        weights[f"eyeBlink{side}"] = np.maximum(weights[f"eyeBlink{side}"], closed)
        opened = 1 - np.clip(weights[f"eyeBlink{side}"], 0, 1)
        for name in ("eyeWide", "eyeSquint", "eyeLookDown"):
            weights[f"{name}{side}"] *= opened


def _wander(rng: np.random.Generator, frames: int, columns: int, width: float) -> npt.NDArray[np.float64]:
    """(frames, columns) smooth random curves of mean 0 and deviation 1 that change within about `width` frames."""
    reach = max(1, int(3 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 0.3)) ** 2)
    noise = rng.normal(size=(frames + 2 * reach, columns))
    kernel /= np.sqrt((kernel**2).sum())
    return np.stack([np.convolve(column, kernel, mode="valid") for column in noise.T], axis=1)


def _smooth(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From 0 at 0 and below to 1 at 1 and above, smoothly."""
    part = np.clip(value, 0, 1)
    return np.asarray(part * part * (3 - 2 * part))
