"""What a face_landmarker.task holds: three networks and the face geometry, read once and kept as safetensors."""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icface.analyzers.mediapipe_torch.flatbuffer import messages
from icface.analyzers.mediapipe_torch.graph import Graph, Operator, Shape, read_graph
from icface.arrays import Array
from icface.errors import IcfaceError
from icface.files import replacing
from icface.weights import FACE_LANDMARKER, cache_folder, fetch, sha256_of

NETWORKS: dict[str, tuple[Shape, tuple[Shape, ...]]] = {
    "face_detector": ((1, 128, 128, 3), ((1, 896, 16), (1, 896, 1))),
    "face_landmarks_detector": ((1, 256, 256, 3), ((1, 1, 1, 1434), (1, 1, 1, 1), (1, 1))),
    "face_blendshapes": ((1, 146, 2), ((52,),)),
}
"""The networks by the names of their files, with the shapes that this package works with."""
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
MESH_POINTS = 468
CACHE_VERSION = 1
"""Raised whenever the same file is kept in another way."""


@dataclass(frozen=True, kw_only=True)
class FaceTask:
    """The contents of one file."""

    sha256: str
    graphs: dict[str, Graph]
    """By the keys of `NETWORKS`."""
    canonical: Array
    """(468, 3) the canonical face, centimetres; x to the picture's right, y up, z towards the camera."""
    weights: Array
    """(468,) what each point counts for when the canonical face is laid onto landmarks."""


def load_task(path: str | Path | None = None) -> FaceTask:
    """The contents of the .task file at `path`, by default MediaPipe's, fetched.

    It is read once; later from safetensors in the cache folder under the file's sha256. Raises IcfaceError naming the
    sha256 of a file that is cut, changed or no such file, and the operator or shape that icface does not know.
    """
    file = Path(path) if path else fetch(FACE_LANDMARKER)
    if not file.is_file():
        raise IcfaceError(f"{file} is not a file; leave the weights out to have them fetched")
    sha256 = sha256_of(file)
    kept = cache_folder() / "networks" / sha256[:16] / f"mediapipe-{CACHE_VERSION}.safetensors"
    task = _kept(kept, sha256)
    if task is None:
        task = read_task(file, sha256)
        _keep(task, kept)
    return task


def read_task(file: Path, sha256: str) -> FaceTask:
    """The contents, out of the file itself. Raises IcfaceError that names the file's sha256 when it cannot be used."""
    try:
        with zipfile.ZipFile(file) as archive:
            graphs = {name: read_graph(archive.read(f"{name}.tflite"), f"{name}.tflite") for name in NETWORKS}
            canonical, weights = _geometry(archive.read(GEOMETRY))
    except IcfaceError as error:
        raise IcfaceError(f"{file} (sha256 {sha256}) cannot be used: {error}") from None
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, zipfile.BadZipFile) as error:
        text = str(error).strip("'\"") or type(error).__name__
        raise IcfaceError(
            f"{file} (sha256 {sha256}) is not a whole face_landmarker.task ({text}); that of version 1 has sha256 "
            f"{FACE_LANDMARKER.sha256}: leave the weights out to have it fetched"
        ) from None
    for name, (input_shape, output_shapes) in NETWORKS.items():
        graphs[name].check(input_shape, output_shapes)
    return FaceTask(sha256=sha256, graphs=graphs, canonical=canonical, weights=weights)


def _geometry(data: bytes) -> tuple[Array, Array]:
    """The canonical face and the points' weights, out of GeometryPipelineMetadata (1: mesh, 2: landmark weights).

    The mesh's vertices (3) are five floats each: x, y, z and two of texture.
    """
    vertices, weights = np.empty(0, np.float32), np.zeros(MESH_POINTS, np.float32)
    for field, value in messages(data):
        if field == 1 and isinstance(value, bytes):
            chunks = [chunk for number, chunk in messages(value) if number == 3 and isinstance(chunk, bytes)]
            vertices = np.frombuffer(b"".join(chunks), "<f4")
        elif field == 2 and isinstance(value, bytes):
            entry = dict(messages(value))
            index, weight = entry.get(1, 0), entry.get(2, b"")
            if not isinstance(index, int) or not isinstance(weight, bytes):
                raise ValueError("a landmark's weight cannot be read")
            weights[index] = np.frombuffer(weight, "<f4")[0]
    if vertices.size != MESH_POINTS * 5 or not weights.any():
        raise ValueError(f"its face geometry has {vertices.size} numbers, not {MESH_POINTS * 5}")
    return vertices.reshape(MESH_POINTS, 5)[:, :3].copy(), weights


def _keep(task: FaceTask, path: Path) -> None:
    """Write what was read beside `path` and move it there, where safetensors is installed."""
    try:
        from safetensors.numpy import save
    except ImportError:
        return
    arrays = {"canonical": task.canonical, "weights": task.weights}
    for name, graph in task.graphs.items():
        arrays |= {f"{name}.{index}": values for index, values in graph.constants.items()}
    described = {name: asdict(graph) | {"constants": list(graph.constants)} for name, graph in task.graphs.items()}
    content = save(arrays, {"sha256": task.sha256, "graphs": json.dumps(described)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _kept(path: Path, sha256: str) -> FaceTask | None:
    """What `_keep` wrote; None when it is not there, cannot be read or belongs to another file."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("sha256") != sha256:
                return None
            graphs = {
                name: _graph(entry, {index: file.get_tensor(f"{name}.{index}") for index in entry["constants"]})
                for name, entry in json.loads(metadata["graphs"]).items()
            }
            return FaceTask(
                sha256=sha256,
                graphs=graphs,
                canonical=file.get_tensor("canonical"),
                weights=file.get_tensor("weights"),
            )
    except (OSError, KeyError, ValueError, SafetensorError):
        return None


def _graph(entry: dict[str, Any], constants: dict[int, Array]) -> Graph:
    operators = [
        Operator(kind=one["kind"], inputs=tuple(one["inputs"]), output=one["output"], options=one["options"])
        for one in entry["operators"]
    ]
    return Graph(
        name=entry["name"],
        input=entry["input"],
        input_shape=tuple(entry["input_shape"]),
        outputs=tuple(entry["outputs"]),
        output_shapes=tuple(tuple(shape) for shape in entry["output_shapes"]),
        operators=tuple(operators),
        constants=constants,
    )
