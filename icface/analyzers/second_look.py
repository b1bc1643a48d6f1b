"""A second look for small faces: MediaPipe's detector sees 128 px of a frame, and misses faces below 8 % of it.

Frames in which no face was found are looked at again in squares. The squares lie around the face of a frame nearby,
where there is one. Else they overlap over the whole frame, from large to small. Only frames of a size are worth it, in
which a face so small has pixels enough. Frames in which a face was found are never changed.
"""

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from icface.analyzers.face import Face

LARGE = 512
"""Longer side of a frame, pixels, from which it is looked at again."""
NEAR = 8
"""Frames apart, within a batch, up to which a face is looked for where it was; so often is a frame searched whole."""
AROUND = 4.0
"""Side of the square around a face over the longer side of its box."""
LEAST_SQUARE = 256
"""Side below which no squares are made, pixels: a face that is found only in smaller ones has too few pixels."""
SHARED = 0.2
"""What neighbouring squares have in common, of their side: a face that one cuts lies whole in the other."""
SAME = 0.3
"""Intersection over union from which two boxes are one face, found in two squares."""

Squares = npt.NDArray[np.float64]
"""(N, 3) x and y of the upper left corner and side, pixels of the frame."""
Look = Callable[[list[int], Squares], list[list[Face]]]
"""Faces, in pixels of the frame, in each square of the frames at these places of a batch."""


def look_again(found: list[list[Face]], width: int, height: int, look: Look) -> list[list[Face]]:
    """`found` of a batch of consecutive frames, with what `look` finds in those that have no face."""
    lost = [place for place, faces in enumerate(found) if not faces]
    if not lost or max(width, height) < LARGE:
        return found
    known = {place: faces for place, faces in enumerate(found) if faces}
    searched: list[int] = []
    for place in lost:
        if not _near(place, list(known)) and not _near(place, searched):
            searched.append(place)
            faces = _search(place, width, height, look)
            if faces:
                known[place] = faces
    again = [place for place in lost if _near(place, list(known))]
    if not again:
        return found
    squares = np.array([_around(known[_near(place, list(known))[0]]) for place in again])
    better = dict(zip(again, look(again, squares), strict=True))
    return [
        faces or _largest_first(better.get(place) or known.get(place, []), width, height)
        for place, faces in enumerate(found)
    ]


def squares_over(width: int, height: int) -> list[Squares]:
    """Squares that cover a frame together: few large ones first, then more of half the side, and so on."""
    levels, side = [], float(min(width, height))
    while side >= LEAST_SQUARE:
        x, y = (
            np.linspace(0, length - side, ceil((length - side) / side / (1 - SHARED)) + 1) for length in (width, height)
        )
        if len(x) * len(y) > 1:
            corners = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
            levels.append(np.column_stack([corners, np.full(len(corners), side)]))
        side /= 2
    return levels


def _near(place: int, places: Sequence[int]) -> list[int]:
    """Those of `places` that lie near, the nearest first."""
    return sorted(
        (other for other in places if abs(other - place) < NEAR), key=lambda other: (abs(other - place), other)
    )


def _search(place: int, width: int, height: int, look: Look) -> list[Face]:
    """Faces of a frame, found in the largest squares that show one."""
    for squares in squares_over(width, height):
        seen = look([place] * len(squares), squares)
        middles = squares[:, :2] + squares[:, 2:] / 2
        # A face in the middle of its square is whole.
        faces = sorted(
            (
                (np.abs(_centre(face) - middle).max(), face)
                for middle, found in zip(middles, seen, strict=True)
                for face in found
            ),
            key=lambda pair: pair[0],
        )
        kept: list[Face] = []
        for _, face in faces:
            if all(_overlap(face.box, other.box) < SAME for other in kept):
                kept.append(face)
        if kept:
            return _largest_first(kept, width, height)
    return []


def _around(faces: list[Face]) -> npt.NDArray[np.float64]:
    side = AROUND * float(faces[0].box[2:].max())
    return np.append(_centre(faces[0]) - side / 2, side)


def _centre(face: Face) -> npt.NDArray[np.float64]:
    return np.asarray(face.box[:2] + face.box[2:] / 2, np.float64)


def _largest_first(faces: list[Face], width: int, height: int) -> list[Face]:
    """The faces whose middle lies in the frame."""
    inside = [face for face in faces if ((_centre(face) >= 0) & (_centre(face) <= (width, height))).all()]
    return sorted(inside, key=lambda face: -float(face.box[2] * face.box[3]))


def _overlap(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(sides.clip(0)))
    return shared / max(float(np.prod(one[2:]) + np.prod(other[2:])) - shared, 1e-9)
