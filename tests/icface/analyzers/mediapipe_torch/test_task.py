import re
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tflite
import torch

from icface.analyzers.mediapipe_torch import task as task_module
from icface.analyzers.mediapipe_torch.flatbuffer import Table, messages
from icface.analyzers.mediapipe_torch.graph import OPERATORS, read_graph
from icface.analyzers.mediapipe_torch.task import GEOMETRY, NETWORKS, load_task, read_task
from icface.errors import IcfaceError
from icface.weights import FACE_LANDMARKER, fetch, sha256_of


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    with zipfile.ZipFile(fetch(FACE_LANDMARKER)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_operators_and_weights_are_those_that_the_tflite_package_reads(name: str, members: dict[str, bytes]) -> None:
    data = members[f"{name}.tflite"]
    graph = read_graph(data, name)
    model = tflite.Model.GetRootAs(data, 0)
    subgraph = model.Subgraphs(0)
    names = {number: text for text, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
    expected = []
    for index in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if kind == "DEQUANTIZE":
            values = np.frombuffer(
                model.Buffers(subgraph.Tensors(operator.Inputs(0)).Buffer()).DataAsNumpy().tobytes(), np.float16
            )
            np.testing.assert_array_equal(graph.constants[operator.Outputs(0)].ravel(), values.astype(np.float32))
        else:
            expected.append((kind, operator.Outputs(0)))
    assert [(operator.kind, operator.output) for operator in graph.operators] == expected


def test_operator_codes_are_those_of_the_schema() -> None:
    for code, name in OPERATORS.items():
        assert getattr(tflite.BuiltinOperator, name) == code


def test_the_second_reading_comes_from_the_cache_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetch(FACE_LANDMARKER)
    monkeypatch.setenv("ICFACE_CACHE", str(tmp_path))
    first = load_task(file)
    (kept,) = tmp_path.rglob("*.safetensors")
    assert first.sha256[:16] in str(kept)

    def refuse(*_: object) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(task_module, "read_task", refuse)
    second = load_task(file)
    assert second.graphs.keys() == first.graphs.keys()
    for name, graph in first.graphs.items():
        again = second.graphs[name]
        assert (again.operators, again.outputs, again.input) == (graph.operators, graph.outputs, graph.input)
        assert all(np.array_equal(again.constants[index], values) for index, values in graph.constants.items())
    np.testing.assert_array_equal(first.canonical, second.canonical)


def test_a_damaged_cache_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fetch(FACE_LANDMARKER)
    monkeypatch.setenv("ICFACE_CACHE", str(tmp_path))
    load_task(file)
    (kept,) = tmp_path.rglob("*.safetensors")
    size = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[: size // 2])
    task = load_task(file)
    assert task.graphs.keys() == NETWORKS.keys()
    assert kept.stat().st_size == size


def no_landmarks(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in members.items() if name != "face_landmarks_detector.tflite"}


def cut_network(members: dict[str, bytes]) -> dict[str, bytes]:
    return members | {"face_detector.tflite": members["face_detector.tflite"][:50_000]}


def cut_geometry(members: dict[str, bytes]) -> dict[str, bytes]:
    return members | {GEOMETRY: members[GEOMETRY][:5_000]}


@pytest.mark.parametrize("damage", [no_landmarks, cut_network, cut_geometry])
def test_a_file_without_its_parts_is_named_by_its_sha256(
    damage: Callable[[dict[str, bytes]], dict[str, bytes]], members: dict[str, bytes], tmp_path: Path
) -> None:
    path = written(tmp_path / "face.task", damage(members))
    with pytest.raises(IcfaceError) as caught:
        load_task(path)
    assert sha256_of(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_named_by_its_sha256(share: float, tmp_path: Path) -> None:
    content = fetch(FACE_LANDMARKER).read_bytes()
    path = tmp_path / "face.task"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(IcfaceError, match=sha256_of(path)):
        load_task(path)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    content = bytearray(fetch(FACE_LANDMARKER).read_bytes())
    content[1_000_000] ^= 0xFF
    path = tmp_path / "face.task"
    path.write_bytes(content)
    with pytest.raises(IcfaceError, match=sha256_of(path)):
        load_task(path)


def test_an_unknown_operator_is_named(members: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(members["face_detector.tflite"])
    table = Table.root(bytes(data)).tables(1)[0]
    place = table._field(0)
    data[place] = 97  # RESIZE_NEAREST_NEIGHBOR
    path = written(tmp_path / "face.task", members | {"face_detector.tflite": bytes(data)})
    with pytest.raises(IcfaceError, match=r"face_detector\.tflite needs operator 97"):
        load_task(path)


def test_other_shapes_are_named(members: dict[str, bytes], tmp_path: Path) -> None:
    path = written(
        tmp_path / "face.task", members | {"face_detector.tflite": members["face_landmarks_detector.tflite"]}
    )
    with pytest.raises(IcfaceError, match=re.escape("takes (1, 256, 256, 3)")):
        load_task(path)


def test_random_damage_never_gives_another_error(members: dict[str, bytes]) -> None:
    generator = np.random.default_rng(0)
    data = members["face_blendshapes.tflite"]
    for _ in range(100):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), 20):
            broken[place] = int(generator.integers(0, 256))
        with suppress(IcfaceError, ValueError, IndexError):
            read_graph(bytes(broken), "face_blendshapes.tflite")


def test_the_canonical_face_is_symmetric_and_its_weights_are_few() -> None:
    task = read_task(fetch(FACE_LANDMARKER), FACE_LANDMARKER.sha256)
    assert 10 < (task.weights > 0).sum() < 60
    # The outer eye corners (33, 263) mirror each other; the chin (152) lies below the forehead (10).
    np.testing.assert_allclose(task.canonical[33] * [-1, 1, 1], task.canonical[263], atol=1e-3)
    assert task.canonical[152, 1] < task.canonical[10, 1]


def test_protocol_buffers_that_are_cut_are_refused() -> None:
    whole = b"\x08\x96\x01" + b"\x15" + struct.pack("<f", 1.5) + b"\x1a\x03abc"
    assert list(messages(whole)) == [(1, 150), (2, struct.pack("<f", 1.5)), (3, b"abc")]
    for end in (2, 5, len(whole) - 1):
        with pytest.raises(ValueError, match="beyond"):
            list(messages(whole[:end]))


def test_tensors_are_float32() -> None:
    for graph in load_task().graphs.values():
        assert all(torch.from_numpy(values.copy()).dtype == torch.float32 for values in graph.constants.values())
