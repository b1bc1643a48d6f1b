import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from icface.analyzers.mediapipe_torch.network import TfliteNetwork
from icface.analyzers.mediapipe_torch.task import NETWORKS, FaceTask, load_task
from icface.weights import FACE_LANDMARKER, fetch


@pytest.fixture(scope="module")
def task() -> FaceTask:
    return load_task()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with zipfile.ZipFile(fetch(FACE_LANDMARKER)) as archive:
        return {name: archive.read(f"{name}.tflite") for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_gives_what_litert_gives(name: str, task: FaceTask, files: dict[str, bytes]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    shape = task.graphs[name].input_shape
    # Blendshapes are read off points in pixels; pictures lie within 0..1 or -1..1.
    values = np.random.default_rng(0).uniform(0, 256 if name == "face_blendshapes" else 1, (3, *shape[1:]))
    values = values.astype(np.float32)
    interpreter = Interpreter(model_content=files[name])
    interpreter.allocate_tensors()
    with torch.no_grad():
        ours = TfliteNetwork(task.graphs[name])(torch.from_numpy(values))
    for place, one in enumerate(values):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[None])
        interpreter.invoke()
        for output, details in zip(ours, interpreter.get_output_details(), strict=True):
            theirs = interpreter.get_tensor(details["index"])
            np.testing.assert_allclose(output[place].numpy().ravel(), theirs.ravel(), atol=1e-3)


def test_a_batch_gives_what_its_rows_give(task: FaceTask) -> None:
    network = TfliteNetwork(task.graphs["face_landmarks_detector"])
    images = torch.rand(4, 256, 256, 3)
    with torch.no_grad():
        together = network(images)[0]
        apart = torch.cat([network(image[None])[0] for image in images])
    torch.testing.assert_close(together, apart, atol=1e-3, rtol=0)


def test_weights_are_no_parameters_and_in_no_state_dict(task: FaceTask) -> None:
    network = TfliteNetwork(task.graphs["face_detector"])
    assert not list(network.parameters())
    assert not network.state_dict()


def test_outputs_of_half_precision_stay_float32(task: FaceTask) -> None:
    network = TfliteNetwork(task.graphs["face_landmarks_detector"])
    images = torch.rand(2, 256, 256, 3)
    with torch.no_grad():
        full = network(images)[0]
        with torch.autocast("cpu", torch.bfloat16):
            half = network(images)[0]
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 2  # pixels of 256


def test_face_landmarker_is_where_it_was(task: FaceTask) -> None:
    assert task.sha256 == FACE_LANDMARKER.sha256
    assert Path(fetch(FACE_LANDMARKER)).is_file()
