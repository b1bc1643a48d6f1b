"""The head that everybody is made of: mesh, the 52 ARKit units, and targets of identity (`data/head.npz`).

Coordinates are MakeHuman's: decimetres, x to the right of the picture, y up, z towards the camera. The face looks along
z. All people share the mesh, so a vertex means the same place on each of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES
from icface.errors import IcfaceError

PARTS = ("skin", "mouth", "eye", "teeth", "tongue", "lash")
"""What a triangle belongs to, by its number in `Head.triangle_part`."""
UNIT_NAMES = (*BLENDSHAPE_NAMES[1:], "tongueOut")
"""The 52 ARKit units: MediaPipe's blendshapes without `_neutral`, in its order, and the tongue, which it lacks."""
THOUSAND = 1000.0

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Head:
    """The packed head, unpacked."""

    vertices: Array
    """(V, 3) the average face at rest."""
    corner_vertex: npt.NDArray[np.int64]
    """(C,) the vertex of each corner; a vertex on a seam of the texture has several."""
    corner_uv: Array
    """(C, 2) place in the texture, 0..1, v upwards."""
    triangles: npt.NDArray[np.int64]
    """(T, 3) corners, counter-clockwise seen from outside."""
    triangle_part: npt.NDArray[np.uint8]
    """(T,) number in `PARTS`."""
    eyes: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    """Vertices of the person's left eye (right in the picture) and of the right one."""
    head_weight: Array
    """(V,) how far a vertex follows the head's turn, 0..1."""
    landmarks: npt.NDArray[np.int64]
    """(68,) the vertices that are the iBUG points."""
    lips: Array
    """(H, W) mask of the lips, 0..1, its first row on top."""
    lips_box: tuple[float, float, float, float]
    """Left, bottom, right, top of that mask in the texture."""
    targets: Mapping[str, tuple[npt.NDArray[np.int64], Array]]
    """Vertices and displacements (n, 3) of each target: `unit/jawOpen`, `macro/asian-male-old`, `head/head-round`."""

    def displacement(self, weights: Mapping[str, float]) -> Array:
        """(V, 3) float32 sum of targets by name, each times its weight. Raises KeyError for an unknown target."""
        moved = np.zeros_like(self.vertices)
        for name, weight in weights.items():
            vertices, deltas = self.targets[name]
            moved[vertices] += np.float32(weight) * deltas  # no vertex occurs twice in a target
        return moved

    def names(self, folder: str) -> tuple[str, ...]:
        """The targets of a folder, in alphabetical order."""
        return tuple(sorted(name for name in self.targets if name.startswith(f"{folder}/")))

    def unit_basis(self) -> Array:
        """(52, V, 3) displacement of each of `UNIT_NAMES` at full weight."""
        return np.stack([self.displacement({f"unit/{name}": 1.0}) for name in UNIT_NAMES])


@cache
def load_head() -> Head:
    """The head that comes with the package; read once. Raises IcfaceError when the installation lacks it."""
    try:
        with files("icface.synthetic").joinpath("data/head.npz").open("rb") as stream:
            packed: dict[str, npt.NDArray[Any]] = dict(np.load(stream, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise IcfaceError(f"the synthetic head is missing or damaged ({error}): install icface again") from None
    starts = packed["target_starts"]
    deltas = packed["target_deltas"].astype(np.float32) / np.float32(THOUSAND)
    index = packed["target_vertices"].astype(np.int64)
    targets = {
        str(name): (index[start:end], deltas[start:end])
        for name, start, end in zip(packed["target_names"], starts, starts[1:], strict=False)
    }
    left, bottom, right, top = packed["lips_box"].tolist()
    return Head(
        vertices=packed["vertices"],
        corner_vertex=packed["corner_vertex"].astype(np.int64),
        corner_uv=packed["corner_uv"],
        triangles=packed["triangles"].astype(np.int64),
        triangle_part=packed["triangle_part"],
        eyes=(packed["left_eye"].astype(np.int64), packed["right_eye"].astype(np.int64)),
        head_weight=packed["head_weight"].astype(np.float32),
        landmarks=packed["landmarks"].astype(np.int64),
        lips=packed["lips"].astype(np.float32) / np.float32(255),
        lips_box=(left, bottom, right, top),
        targets=targets,
    )
