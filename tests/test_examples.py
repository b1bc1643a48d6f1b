"""The programs in examples/ run as they stand, one after another, on the small data set."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the second example."""
    path = tmp_path_factory.mktemp("example") / "bundle"
    example("train_in_one_process").main(str(small_dataset), str(path), steps=2)
    return path


def test_a_data_set_is_read(small_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("read_dataset").main(str(small_dataset))
    printed = capsys.readouterr().out
    assert "frames of 2 people" in printed
    assert "wolfgang: mean AU12" in printed
    assert "(32, 32, 3)" in printed


def test_training_makes_a_bundle(bundle: Path) -> None:
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in bundle.iterdir()}


def test_a_portrait_moves(bundle: Path, sample_clips: dict[str, Path], tmp_path: Path) -> None:
    from icface.images import encode_png
    from icface.video.reading import read_frames

    _, frames = next(iter(read_frames(sample_clips["single_face.mp4"])))
    (tmp_path / "portrait.png").write_bytes(encode_png(frames[0]))
    example("animate_portrait").main(str(bundle), str(tmp_path / "portrait.png"), str(tmp_path / "out.mp4"))
    written = np.concatenate([pictures for _, pictures in read_frames(tmp_path / "out.mp4")])
    assert written.shape == (50, 32, 32, 3)


def test_two_bundles_are_compared(
    bundle: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example("compare_bundles").main(str(bundle), str(bundle), str(small_dataset), per_track=1)
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("face_l1"))
    assert row[1] == row[2] != "–"
    assert float(row[3]) > 0
