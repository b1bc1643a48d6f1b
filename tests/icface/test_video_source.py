"""A video whose own face is edited."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from icface import video_source as module
from icface.attributes import AttributeSchema
from icface.crop import CropRule


@pytest.mark.parametrize(("baselines", "frames", "rest"), [(True, 60, 0.0), (True, 10, 1.0), (False, 60, 1.0)])
def test_a_model_of_changes_gets_the_face_less_its_rest(
    baselines: bool, frames: int, rest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = pd.DataFrame({"frame": range(frames), "timestamp": [n / 25 for n in range(frames)], "face": True})
    faces = [SimpleNamespace(box=(0.0, 0.0, 10.0, 10.0))] * frames
    monkeypatch.setattr(module, "measure_video", lambda *given: (table.assign(AU04=1.0), faces))
    monkeypatch.setattr(module, "probe", lambda path: SimpleNamespace(fps=25.0, width=64, height=64))
    config = SimpleNamespace(baselines=baselines, crop_rule=CropRule().to_json())
    model = SimpleNamespace(schema=AttributeSchema.default(), config=config)
    source = module.measure_source(SimpleNamespace(model=model, analyzer=None), tmp_path / "clip.mp4")
    assert source.table["AU04"].tolist() == pytest.approx([rest] * frames)
