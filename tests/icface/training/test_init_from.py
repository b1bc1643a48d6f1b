from dataclasses import replace

import pytest
import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.attributes import AttributeSchema, unit_of
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.networks.config import ModelConfig
from icface.training.init_from import SAME, init_from, init_schema

MODELS = {
    "warp": ModelConfig(size=32, width=8, blocks=1, attribute_gain=3.0, flow_basis=4),
    "resnet": ModelConfig(architecture="resnet", size=32, width=4, blocks=1),
    "encoded": ModelConfig(architecture="resnet", size=32, width=4, blocks=1, encoder=True),
}


def model_of(config, schema, seed):
    torch.manual_seed(seed)
    model = ICface(BundleConfig(model=config, schema=schema)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_the_training_goes_on_from_the_starting_models_outputs(kind):
    start = model_of(MODELS[kind], AttributeSchema.default(0.5), 1)
    config = tiny_config(model={name: getattr(MODELS[kind], name) for name in (*SAME, "pixels_from")})
    training = tiny_training(config, start=start)
    image, encoded, neutral = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 20), torch.rand(2, 20)
    for model in (training.model.eval(), training.average.model):
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in start.state_dict().items())
        with torch.no_grad():  # the training keeps its weights channels last, which rounds differently
            torch.testing.assert_close(
                model(image, encoded, neutral), start(image, encoded, neutral), atol=1e-4, rtol=0
            )


def test_attributes_are_matched_by_name():
    default = AttributeSchema.default()
    fewer = AttributeSchema(tuple(reversed([a for a in default.attributes if a.name != "AU12"])))
    start = model_of(MODELS["warp"], fewer, 1)
    model = model_of(MODELS["warp"], default, 2)
    init_from(model, start)
    encoded = torch.rand(2, 20)
    theirs = encoded[:, [default.index(name) for name in fewer.names]]
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.generator(image, encoded), start.generator(image, theirs))
    _, changes = init_schema(default, fewer)
    assert changes == ["AU12: new; its weights begin at zero"]


def test_attributes_that_change_are_listed_and_keep_the_starting_models_range():
    shares = dict.fromkeys(AttributeSchema.default().names, 1.0) | {"AU14": 0.0}
    data = AttributeSchema.default().with_measured_shares(shares)
    old = AttributeSchema.default(0.5)
    old = AttributeSchema(tuple(replace(a, trained=a.name != "AU20") for a in old.attributes))
    schema, changes = init_schema(data, old)
    assert [a.high for a in schema.attributes[:3]] == [0.5] * 3
    assert not schema.attributes[schema.index("AU14")].trained
    assert [line.split(":")[0] for line in changes] == ["pose_pitch", "pose_yaw", "pose_roll", "AU14", "AU20"]
    assert "not -0.7..0.7 rad" in changes[0] and "cannot be set" in changes[3] and "begin at zero" in changes[4]


def test_networks_that_do_not_fit_are_refused_with_the_options_that_would():
    model = model_of(MODELS["warp"], AttributeSchema.default(), 1)
    with pytest.raises(
        IcfaceError, match=r"width 4 \(here 8\).*--model.architecture resnet .*--model.encoder --model.attribute-gain 1"
    ):
        init_from(model, model_of(MODELS["encoded"], AttributeSchema.default(), 1))


def test_a_fresh_discriminator_learns_alone_first():
    start = model_of(MODELS["warp"], AttributeSchema.default(), 1)
    model = {name: getattr(MODELS["warp"], name) for name in SAME}
    training = tiny_training(tiny_config(steps=20, model=model, optimiser={"warmup": 0.1}), start=start)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    judge = next(training.discriminator.parameters()).clone()
    for step in range(2):
        training.step(synthetic_batch(step))
    assert all(torch.equal(before[name], tensor) for name, tensor in training.model.state_dict().items())
    assert not torch.equal(judge, next(training.discriminator.parameters()))
    assert training.state()["warmup"] == 2
    training.step(synthetic_batch(2))
    assert any(not torch.equal(before[name], tensor) for name, tensor in training.model.state_dict().items())


def test_both_sides_together_begin_as_their_unit():
    start = model_of(MODELS["warp"], AttributeSchema.default(), 1)
    model = model_of(MODELS["warp"], AttributeSchema.default(sides=True), 2)
    init_from(model, start)
    whole = torch.rand(2, 20)
    sided = whole[:, [start.schema.index(unit_of(name)) for name in model.schema.names]]
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.generator(image, sided), start.generator(image, whole), atol=1e-5, rtol=0)
        one = sided.clone()
        one[:, model.schema.index("AU12L")] += 0.5
        assert (model.generator(image, one) - start.generator(image, whole)).abs().max() > 1e-4
    _, changes = init_schema(model.schema, start.schema)
    assert len(changes) == 16 and changes[0] == "AU02L: one side of AU02; its weights begin as half of that one's"
