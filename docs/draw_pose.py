"""Draws docs/pose.svg: what positive and negative pitch, yaw and roll look like. Run it from the repository's root.

A head of curves is turned by OpenFace's rotation (x to the right of the picture, y down, z away from the camera), so
that the picture follows from the definition; `tests/icface/control/test_pose_signs.py` holds it against real faces.
"""

from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

CELL, GAP, LEFT, TOP = 150, 18, 24, 40
ANGLES = (-25, 0, 25)
HEAD = np.array([0.40, 0.52, 0.46])
"""Half axes of the head, in cells."""
WORDS = {
    "pitch": ("looks up", "looks down"),
    "yaw": ("turns to the right\nof the picture", "turns to the left\nof the picture"),
    "roll": ("leans to the left\nof the picture", "leans to the right\nof the picture"),
}
INK, FAINT, SKIN = "#202124", "#5f6368", "#f6e7d8"


def on_face(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points (N, 3) of the head's front at x, y."""
    z = -HEAD[2] * np.sqrt(np.maximum(0, 1 - (x / HEAD[0]) ** 2 - (y / HEAD[1]) ** 2))
    return np.column_stack([x, y, z])


def features() -> list[np.ndarray]:
    """The face's lines, each (N, 3)."""
    turn = np.linspace(0, 2 * np.pi, 40)
    line = np.linspace(-1, 1, 20)
    lines = []
    for side in (-1, 1):
        lines.append(on_face(side * 0.15 + 0.065 * np.cos(turn), -0.09 + 0.035 * np.sin(turn)))
        lines.append(on_face(side * 0.15 + 0.022 * np.cos(turn), -0.09 + 0.022 * np.sin(turn)))
        lines.append(on_face(side * 0.16 + 0.09 * line, -0.19 - 0.025 * (1 - line**2)))
    bridge, base = on_face(np.array([0.0]), np.array([-0.07]))[0], on_face(np.array([0.0]), np.array([0.13]))[0]
    tip = np.array([0.0, 0.1, -HEAD[2] - 0.14])
    wings = on_face(np.array([-0.055, 0.055]), np.array([0.12, 0.12]))
    lines.append(np.stack([bridge, tip, wings[0]]))
    lines.append(np.stack([tip, wings[1], base, wings[0]]))
    lines.append(on_face(0.13 * line, 0.27 + 0.03 * (1 - line**2)))
    return lines


def head(angles: tuple[float, float, float], x: float, y: float) -> str:
    """SVG of a head at pitch, yaw, roll in degrees, its middle at (x, y)."""
    turn = Rotation.from_euler("XYZ", angles, degrees=True)
    sphere = np.random.default_rng(0).normal(size=(4000, 3))
    skull = turn.apply(HEAD * sphere / np.linalg.norm(sphere, axis=1, keepdims=True))[:, :2]
    outline = skull[ConvexHull(skull).vertices]
    parts = [polyline(outline, x, y, f'fill="{SKIN}" stroke="{INK}" stroke-width="1.6"', closed=True)]
    parts += [
        polyline(turn.apply(part)[:, :2], x, y, f'fill="none" stroke="{INK}" stroke-width="1.4"') for part in features()
    ]
    return "\n".join(parts)


def polyline(points: np.ndarray, x: float, y: float, style: str, closed: bool = False) -> str:
    """SVG of a line through points (N, 2) in cells around (x, y)."""
    places = " ".join(f"{x + CELL * px:.1f},{y + CELL * py:.1f}" for px, py in points)
    return f'<{"polygon" if closed else "polyline"} points="{places}" {style} stroke-linejoin="round"/>'


def text(x: float, y: float, words: str, colour: str, size: int, anchor: str = "middle") -> str:
    """SVG of one or more lines of text."""
    style = f'fill="{colour}" font-size="{size}" text-anchor="{anchor}"'
    lines = enumerate(words.split("\n"))
    return "\n".join(f'<text x="{x}" y="{y + index * (size + 3)}" {style}>{line}</text>' for index, line in lines)


def main() -> None:
    """Write docs/pose.svg."""
    row = CELL + 66
    width = LEFT + 90 + 3 * CELL + 2 * GAP + LEFT
    parts = []
    for index, (name, (negative, positive)) in enumerate(WORDS.items()):
        middle = TOP + index * row + CELL / 2
        parts.append(text(LEFT, middle, name, INK, 18, "start"))
        parts.append(text(LEFT, middle + 18, f"pose_{name}", FAINT, 12, "start"))
        for column, degrees in enumerate(ANGLES):
            x = LEFT + 90 + column * (CELL + GAP) + CELL / 2
            angles = [0.0, 0.0, 0.0]
            angles[index] = degrees
            parts.append(head((angles[0], angles[1], angles[2]), x, middle))
            words = {-1: negative, 0: "straight ahead", 1: positive}[int(np.sign(degrees))]
            parts.append(text(x, middle + CELL / 2 + 20, f"{degrees:+d}°\n{words}".replace("+0", "0"), FAINT, 12))
    height = TOP + len(WORDS) * row
    body = "\n".join(parts)
    Path("docs/pose.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="Helvetica, Arial, sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{body}\n</svg>\n"
    )


if __name__ == "__main__":
    main()
