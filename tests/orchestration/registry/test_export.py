import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from icface.bundle import ICface, load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.images import encode_png, read_image
from icface.networks.config import ModelConfig
from orchestration.registry import export as module
from orchestration.registry.export import export


def test_a_bundle_comes_out_as_it_went_in(untrained_bundle: Path, tmp_path: Path):
    model = export(str(untrained_bundle), str(tmp_path / "out"))
    assert model.config.licence == "test licence"
    before, after = load_bundle(untrained_bundle).state_dict(), load_bundle(tmp_path / "out").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(IcfaceError, match="exists"):
        export(str(untrained_bundle), str(tmp_path / "out"))


@pytest.fixture(params=["warp", "resnet"])
def moving_bundle(request: pytest.FixtureRequest, untrained_bundle: Path, tmp_path: Path) -> Path:
    """An untrained warp moves nothing; these change what they are given, and differ for each attribute."""
    config = load_bundle(untrained_bundle).config
    torch.manual_seed(1)
    made = ModelConfig(architecture=request.param, size=32, width=8, blocks=2, flow_basis=4)
    model = ICface(replace(config, model=made))
    with torch.no_grad():
        for network in (model.generator, model.neutraliser):
            if request.param == "warp":
                network.affine.weight.normal_(0.0, 0.2)
                network.basis.fields.weight.normal_(0.0, 0.05)
                network.flow.weight.normal_(0.0, 0.1)
            for layer in network.modules() if request.param == "resnet" else ():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.running_mean.normal_(0.0, 0.3)
                    layer.running_var.uniform_(0.5, 2.0)
                elif isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                    torch.nn.init.kaiming_normal_(layer.weight)  # with the usual small ones its output hardly varies
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
            assert np.abs(expected[0] - expected[-1]).max() > 0.1 or count == 1


@pytest.mark.parametrize(("told", "pixels_from"), [("neutral", "neutral"), ("change", "source")])
def test_the_readmes_code_makes_what_torch_makes(
    told: str, pixels_from: str, moving_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import onnx

    loaded = load_bundle(moving_bundle)
    changed = replace(loaded.config.model, neutraliser_input=told, pixels_from=pixels_from)
    config = replace(loaded.config, model=changed)
    model = ICface(config).eval()
    model.load_state_dict(loaded.state_dict())
    save_bundle(model, tmp_path / "bundle")
    folder = tmp_path / "onnx"
    export(str(tmp_path / "bundle"), str(folder), "onnx")
    crop = np.random.default_rng(0).integers(0, 256, (model.size, model.size, 3)).astype(np.uint8)
    (folder / "crop.png").write_bytes(encode_png(crop))
    text = (folder / "README.md").read_text()
    assert ("12 channels" in text) == config.model.layered
    code = text.split("```python\n")[1].split("```")[0].replace("own = {}", 'own = {"AU12": 0.8, "pose_yaw": -0.2}')
    assert len(code.splitlines()) < 15
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})
    raw = {name: model.schema.neutral()[place] for place, name in enumerate(model.schema.names)}
    own, wanted = (
        torch.from_numpy(model.schema.encode(np.array([list({**raw, **values}.values())], np.float32))[0])
        for values in ({"AU12": 0.8, "pose_yaw": -0.2}, {"AU12": 1.5, "pose_yaw": 0.3})
    )
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = model.generator(model.neutralise(image, own), wanted)[0].permute(1, 2, 0)
    found = read_image(folder / "picture.png").astype(np.float32)
    assert np.abs(found - ((expected + 1) * 127.5).clamp(0, 255).numpy()).max() <= 1.01
    kept = {entry.key: entry.value for entry in onnx.load(folder / "generator.onnx").metadata_props}
    assert [entry["name"] for entry in json.loads(kept["attributes"])] == list(model.schema.names)
    assert kept["pixels"].startswith("RGB")
    assert ("12 channels" in kept.get("layers", "")) == config.model.layered
    assert ("always the same" in kept["neutraliser_attributes"]) == (told == "neutral")


@pytest.mark.parametrize("moving_bundle", ["resnet"], indirect=True)
def test_a_file_that_differs_is_not_exported(moving_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(IcfaceError, match="differs from torch"):
        export(str(moving_bundle), str(tmp_path / "onnx"), "onnx")
    assert not (tmp_path / "onnx").exists()
    assert not list(tmp_path.glob(".onnx*"))
