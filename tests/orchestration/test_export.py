from pathlib import Path

import numpy as np
import pytest
import torch

from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from orchestration import export as module
from orchestration.export import export


def test_a_bundle_comes_out_as_it_went_in(untrained_bundle: Path, tmp_path: Path):
    model = export(str(untrained_bundle), str(tmp_path / "out"))
    assert model.config.licence == "test licence"
    before, after = load_bundle(untrained_bundle).state_dict(), load_bundle(tmp_path / "out").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(IcfaceError, match="exists"):
        export(str(untrained_bundle), str(tmp_path / "out"))


@pytest.fixture
def moving_bundle(untrained_bundle: Path, tmp_path: Path) -> Path:
    """An untrained model moves nothing; this one does."""
    model = load_bundle(untrained_bundle)
    torch.manual_seed(1)
    with torch.no_grad():
        for network in (model.generator, model.neutraliser):
            network.affine.weight.normal_(0.0, 0.2)
            network.flow.weight.normal_(0.0, 0.1)
    save_bundle(model, tmp_path / "moving")
    return tmp_path / "moving"


def test_onnxruntime_gives_what_torch_gives_at_any_batch(moving_bundle: Path, tmp_path: Path):
    import onnxruntime

    export(str(moving_bundle), str(tmp_path / "onnx"), "onnx")
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [
        "README.md",
        "config.json",
        "generator.onnx",
        "neutraliser.onnx",
    ]
    model = load_bundle(moving_bundle).eval()
    rng = np.random.default_rng(5)
    for name in ("neutraliser", "generator"):
        session = onnxruntime.InferenceSession(tmp_path / f"onnx/{name}.onnx", providers=["CPUExecutionProvider"])
        for count in (1, 2, 5):
            image = rng.uniform(-1, 1, (count, 3, model.size, model.size)).astype(np.float32)
            attributes = rng.uniform(0, 1, (count, len(model.schema))).astype(np.float32)
            (found,) = session.run(None, {"image": image, "attributes": attributes})
            with torch.inference_mode():
                expected = getattr(model, name)(torch.from_numpy(image), torch.from_numpy(attributes)).numpy()
            assert np.abs(found - expected).max() < 1e-4
            assert np.abs(expected - image).max() > 0.1


def test_a_file_that_differs_is_not_exported(moving_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(IcfaceError, match="differs from torch"):
        export(str(moving_bundle), str(tmp_path / "onnx"), "onnx")
    assert not (tmp_path / "onnx").exists()
    assert not list(tmp_path.glob(".onnx*"))
