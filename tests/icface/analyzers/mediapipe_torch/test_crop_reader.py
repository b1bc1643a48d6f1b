from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from icface.analyzers.face import Face
from icface.analyzers.mediapipe import MediaPipeAnalyzer
from icface.analyzers.mediapipe_torch.crop_reader import CropReader, CropReading, read_crops
from icface.attributes import ATTRIBUTE_NAMES
from icface.crop import CropRule, crop_image
from icface.video.reading import read_frames

SIZE = 128
GOOD = [f"AU{number}" for number in ("01", "02", "04", "05", "07", "10", "12", "25", "26", "45")]


@pytest.fixture(scope="module")
def reader() -> CropReader:
    return CropReader()


@pytest.fixture(scope="module")
def stored(sample_clips: dict[str, Path]) -> tuple[np.ndarray, list[Face]]:
    """Crops (N, 128, 128, 3) as data sets store them, and what MediaPipe says of their frames."""
    return crops_of([(path, 12) for path in sample_clips.values()])


def crops_of(clips: list[tuple[Path, int]]) -> tuple[np.ndarray, list[Face]]:
    analyzer = MediaPipeAnalyzer()
    crops, faces = [], []
    for path, every in clips:
        for indices, window in read_frames(path, every=every):
            for frame, found in zip(window, analyzer.analyze(window, indices, "clip"), strict=True):
                if not found:
                    continue
                height, width = frame.shape[:2]
                square = CropRule().squares([found[0].box], fps=25, width=width, height=height)[0]
                jpeg = cv2.imencode(".jpg", crop_image(frame, square, SIZE)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[
                    1
                ]
                crops.append(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1])
                faces.append(found[0])
    analyzer.close()
    return np.stack(crops), faces


def as_images(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def read(reader: CropReader, crops: np.ndarray) -> CropReading:
    with torch.no_grad():
        parts = [reader(as_images(crops[start : start + 16])) for start in range(0, len(crops), 16)]
    return CropReading(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def test_crops_read_as_their_frames_did(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    crops, faces = stored
    reading = read(reader, crops)
    labels = np.stack([face.attributes for face in faces])
    assert np.array_equal(np.isnan(labels).all(axis=0), reading.attributes.isnan().all(dim=0).numpy())
    # A face's place in the frame shifts its pose, by the same amount all along a clip: medians aside. The sample
    # clips have 40 and 6 of the frames.
    assert len(faces) == 46
    for part in np.split(np.degrees((reading.attributes.numpy() - labels)[:, :3]), [40]):
        assert np.abs(part - np.median(part, axis=0)).mean(axis=0).max() < 1.5
    shapes = np.abs(reading.blendshapes.numpy() - np.stack([face.blendshapes for face in faces])).mean()
    assert shapes < 0.035


def test_stored_crops_agree_with_their_labels(reader: CropReader, shared: Path) -> None:
    clips = sorted((shared / "clips").glob("*/*/*.mp4"))[:30]
    crops, faces = crops_of([(clip, 30) for clip in clips])
    labels = np.stack([face.attributes for face in faces])
    ours = read(reader, crops).attributes.numpy()
    assert len(faces) > 100
    for name in ("pose_pitch", "pose_yaw", "pose_roll", *GOOD):
        column = ATTRIBUTE_NAMES.index(name)
        assert np.corrcoef(ours[:, column], labels[:, column])[0, 1] >= 0.9, name


def test_landmarks_lie_where_mediapipe_has_them(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    reading = read(reader, stored[0])
    # The box of the landmarks has its longer side at 1 / 1.6 of the crop, wherever the square was not pushed inwards.
    landmarks = reading.landmarks.numpy()
    sides = (landmarks.max(axis=1) - landmarks.min(axis=1)).max(axis=1)
    assert abs(np.median(sides) - 1 / 1.6) < 0.03
    assert (reading.presence > 0).float().mean() > 0.9  # two frames of a head that leans far to its side


def test_gradients_reach_the_pixels(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    images = as_images(stored[0][:1]).double().requires_grad_()
    doubled = CropReader().double()

    def total(values: torch.Tensor) -> torch.Tensor:
        reading = doubled(values)
        return reading.unclipped.nan_to_num().sum() + reading.mesh.square().sum()

    (gradient,) = torch.autograd.grad(total(images), images)
    direction = torch.randn(images.shape, dtype=torch.float64)
    step = 1e-7
    with torch.no_grad():
        slope = (total(images + step * direction) - total(images - step * direction)) / (2 * step)
    assert slope.abs() > 0.1
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=0.02, atol=0)


def test_steps_along_the_gradient_open_the_mouth(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    images = as_images(stored[0][:2])
    jaw = ATTRIBUTE_NAMES.index("AU26")
    before = reader(images).unclipped[:, jaw].detach()
    for _ in range(5):
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(reader(images).unclipped[:, jaw].sum(), images)
        images = (images.detach() + 0.02 * gradient.sign()).clamp(-1, 1)
    assert (reader(images).unclipped[:, jaw] > before + 0.2).all()


def test_a_training_step_leaves_the_reader_as_it_is(reader: CropReader) -> None:
    model = torch.nn.ModuleDict({"painter": torch.nn.Conv2d(3, 3, 1), "reader": reader})
    before = {name: values.clone() for name, values in reader.named_buffers()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train().requires_grad_(True)
    model["reader"](model["painter"](torch.rand(2, 3, 32, 32)).tanh()).mesh.sum().backward()
    optimiser.step()
    assert not list(reader.parameters())
    assert set(model.state_dict()) == {"painter.weight", "painter.bias"}
    for name, values in reader.named_buffers():
        torch.testing.assert_close(values, before[name], rtol=0, atol=0)


def test_half_precision_reads_nearly_the_same(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    images = as_images(stored[0][:8])
    with torch.no_grad():
        full = reader(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = reader(images.bfloat16())
    assert half.attributes.dtype == torch.float32
    difference = (half.attributes - full.attributes).nan_to_num().abs()
    assert 0 < difference.max() < 0.3
    assert difference[:, :3].max() < np.radians(1.5)


def test_the_graph_is_captured_whole(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    images = as_images(stored[0][:2])
    compiled = torch.compile(reader, fullgraph=True, backend="eager")
    wanted = images.clone().requires_grad_()
    compiled(wanted).unclipped.nansum().backward()
    assert wanted.grad is not None
    assert wanted.grad.abs().sum() > 0
    with torch.no_grad():
        torch.testing.assert_close(compiled(images).mesh, reader(images).mesh, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [48, 256, 300])
def test_crops_have_any_size(size: int, reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    image = cv2.resize(stored[0][0], (size, size), interpolation=cv2.INTER_AREA if size < SIZE else cv2.INTER_CUBIC)
    expected = read(reader, stored[0][:1]).landmarks
    torch.testing.assert_close(read(reader, image[None]).landmarks, expected, rtol=0, atol=0.03)


def test_the_function_reads_what_the_module_reads(reader: CropReader, stored: tuple[np.ndarray, list[Face]]) -> None:
    images = as_images(stored[0][:2])
    with torch.inference_mode():
        found = read_crops(images)
        for one, other in zip(found, reader(images), strict=True):
            torch.testing.assert_close(one, other, equal_nan=True)
    # What was made in inference mode works with gradients too.
    learning = images.clone().requires_grad_()
    read_crops(learning).landmarks.sum().backward()
    assert learning.grad is not None
    assert learning.grad.abs().sum() > 0
    whole = torch.compile(read_crops, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(images).landmarks, found.landmarks.clone())
