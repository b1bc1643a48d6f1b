import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface, load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.networks.config import ModelConfig
from icface.networks.warp import LAYERS

SMALL = {
    "warp": ModelConfig(size=64, width=8, blocks=1, discriminator_width=8),
    "resnet": ModelConfig(architecture="resnet", size=64, width=8, blocks=1, encoder=True, discriminator_width=8),
}


def model(architecture="warp", schema=None):
    torch.manual_seed(0)
    made = ICface(BundleConfig(model=SMALL[architecture], schema=schema or AttributeSchema.default(), licence="MIT"))
    for parameter in made.parameters():  # away from the identity that a fresh generator is
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made.eval()


def inputs(count=2, size=64):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1, torch.rand(count, 20, generator=generator)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_all_of_a_bundle_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_bundle(model(), tmp_path / "bundle")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "bundle").iterdir()} == {0o666 & ~mask}
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("architecture", SMALL)
def test_a_loaded_bundle_gives_the_same_pictures(tmp_path, architecture):
    made = model(architecture)
    save_bundle(made, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    image, attributes = inputs()
    for network in ("neutraliser", "generator"):
        output = getattr(loaded, network)(image, attributes)
        assert output.shape == image.shape
        assert output.abs().max() <= 1
        torch.testing.assert_close(output, getattr(made, network)(image, attributes))
    assert loaded.config == made.config
    assert (loaded.size, loaded.schema) == (64, AttributeSchema.default())
    assert not loaded.training


@pytest.mark.parametrize(
    ("option", "before"),
    [
        ("attribute_gain", 1),
        ("flow_basis", 0),
        ("neutraliser_input", "neutral"),
        ("painting", "unfolded"),
        ("pixels_from", "neutral"),
    ],
)
def test_a_bundle_from_before_an_option_is_read_as_it_was(tmp_path, option, before):
    made = model()
    save_bundle(made, tmp_path / "bundle")
    config = tmp_path / "bundle/config.json"
    values = json.loads(config.read_text())
    assert values["model"].pop(option) == before
    config.write_text(json.dumps(values))
    image, attributes = inputs()
    torch.testing.assert_close(
        load_bundle(tmp_path / "bundle").generator(image, attributes), made.generator(image, attributes)
    )


def test_nothing_in_a_bundle_is_pickled(tmp_path):
    save_bundle(model(), tmp_path / "bundle")
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert "AU45" in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("architecture", SMALL)
def test_an_untrained_attribute_has_no_effect(tmp_path, architecture):
    shares = dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | {"AU14": 0.0}
    save_bundle(model(architecture, AttributeSchema.default().with_measured_shares(shares)), tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    image, attributes = inputs()
    changed = attributes.clone()
    changed[:, loaded.schema.index("AU14")] = 1 - changed[:, loaded.schema.index("AU14")]
    for network in (loaded.neutraliser, loaded.generator):
        torch.testing.assert_close(network(image, changed), network(image, attributes))
    changed[:, loaded.schema.index("AU12")] = 1 - changed[:, loaded.schema.index("AU12")]
    assert not torch.equal(loaded.generator(image, changed), loaded.generator(image, attributes))


def test_a_registered_models_folder_is_taken_too(tmp_path):
    save_bundle(model(), tmp_path / "artifacts" / "bundle")
    assert load_bundle(tmp_path).size == 64


def test_saving_again_replaces_the_whole_bundle(tmp_path):
    save_bundle(model(), tmp_path / "bundle")
    (tmp_path / "bundle" / "stray").write_text("left over")
    save_bundle(model(), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_bundle(model(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def damage_config(folder, change):
    values = json.loads((folder / "config.json").read_text())
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_bytes(b"\xff{"), "config.json cannot be read"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "model.safetensors cannot be read"),
        (lambda f: damage_config(f, lambda v: v.update(format=99)), "has format 99"),
        (lambda f: damage_config(f, lambda v: v["model"].update(width=16)), "do not fit"),
        (lambda f: damage_config(f, lambda v: v["schema"].pop()), "do not fit"),
        (lambda f: damage_config(f, lambda v: v.pop("schema")), "schema"),
    ],
)
def test_bad_bundles_get_one_clear_line(tmp_path, damage, message):
    save_bundle(model(), tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(IcfaceError, match=message) as error:
        load_bundle(tmp_path / "bundle")
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_forward_neutralises_then_animates():
    made = model()
    image, attributes = inputs()
    neutral = torch.from_numpy(np.tile(made.schema.neutral_encoded(), (2, 1)))
    torch.testing.assert_close(
        made(image, attributes.flip(0), attributes), made.generator(made.neutraliser(image, neutral), attributes)
    )


def test_a_layered_models_neutral_face_begins_with_its_picture():
    made = ICface(BundleConfig(model=replace(SMALL["warp"], pixels_from="source"), schema=AttributeSchema.default()))
    image, attributes = inputs()
    neutral = made.neutralise(image, attributes)
    assert neutral.shape == (len(image), LAYERS, made.size, made.size)
    told = made.neutraliser_attributes(attributes)
    torch.testing.assert_close(neutral[:, :3], made.neutraliser(image, told))
    torch.testing.assert_close(neutral[:, 3:6], image)
    torch.testing.assert_close(made(image, attributes, attributes), made.generator(neutral, attributes))
    # A picture alone is taken too: its own pixels are moved.
    assert made.generator(neutral[:, :3], attributes).shape == image.shape


def test_a_neutraliser_is_told_the_change_that_is_wanted_or_the_neutral_face():
    schema = AttributeSchema.default().with_measured_shares(dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | {"AU14": 0.0})
    source = torch.full((2, 20), 0.5)
    source[0, schema.index("AU12")] = 0.4  # 2 of 5
    source[:, schema.index("AU45")] = 0.0  # already neutral, or not measured
    source[1, schema.index("pose_yaw")] = 0.75
    told = {}
    for kind in ("neutral", "change"):
        config = replace(SMALL["warp"], neutraliser_input=kind)
        told[kind] = ICface(BundleConfig(model=config, schema=schema)).neutraliser_attributes(source)
    np.testing.assert_array_equal(told["neutral"].numpy(), np.tile(schema.neutral_encoded(), (2, 1)))
    change = told["change"]
    assert change[0, schema.index("AU12")].item() == pytest.approx(0.3)  # down by 2 of 5
    assert change[:, schema.index("AU45")].tolist() == [0.5, 0.5]
    assert change[:, schema.index("pose_yaw")].tolist() == [0.5, 0.375]
    assert change[:, schema.index("AU14")].tolist() == [0.5, 0.5]  # not trained: never told to move
