"""The example of docs/control.md runs as printed."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface, save_bundle
from icface.crop import CropRule
from icface.images import encode_jpeg
from icface.networks.config import ModelConfig
from icface.video.reading import read_frames

PAGE = Path(__file__).resolve().parents[2] / "docs" / "control.md"


def test_the_python_example(sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = BundleConfig(
        model=ModelConfig(size=32, width=8, blocks=1, discriminator_width=8),
        schema=AttributeSchema.default(),
        crop_rule=CropRule().to_json(),
        analyzer={"name": "mediapipe"},
    )
    save_bundle(ICface(config), tmp_path / "bundle")
    frame = next(read_frames(sample_clips["single_face.mp4"], window=1))[1][0]
    (tmp_path / "portrait.jpg").write_bytes(encode_jpeg(frame))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["whole"].shape == frame.shape and names["whole"].dtype == np.uint8
    assert names["face"].shape == (32, 32, 3)


def test_its_commands_are_those_of_its_pictures() -> None:
    """Every picture has been made by the command that stands before it."""
    text = PAGE.read_text()
    script = (PAGE.parent / "write_control_pictures.py").read_text()
    shown = re.findall(r"\(control/([\w-]+)\.jpg\)", text)
    assert len(shown) == 7
    for name in shown:
        words = re.search(rf'"{name}": \[(.*?)\]', script)
        assert words is not None
        command = " ".join(["icface animate MODEL", *re.findall(r'"([^"]+)"', words[1]), "-o", f"{name}.png"])
        assert command in text, command
