import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.networks.discriminator import DiscriminatorOutput
from icface.training.batch import mean_weights
from icface.training.losses import AttributeLoss
from icface.training.phases import Step
from icface.training.region_weights import region_weights


def test_null_attributes_are_masked():
    predicted, asked = torch.zeros(1, 20), torch.zeros(1, 20)
    asked[0, 3], asked[0, 4] = 0.5, 1.0
    measured = torch.ones(1, 20, dtype=torch.bool)
    measured[0, 4] = False
    loss = AttributeLoss("squared", torch.full((20,), 0.25), torch.ones(20, dtype=torch.bool))
    assert loss(predicted, asked, mean_weights(measured)).item() == pytest.approx((0.5 / 0.25) ** 2 / 19)


def test_untrained_attributes_are_masked_and_deviations_have_a_floor():
    trained = torch.zeros(20, dtype=torch.bool)
    trained[3] = True
    loss = AttributeLoss("squared", torch.full((20,), 0.001), trained)
    weights = synthetic_batch(0).to(torch.device("cpu"), trained).driving_weight
    assert weights[:, 3].sum().item() == pytest.approx(1) and weights.sum().item() == pytest.approx(1)
    assert loss(torch.full((4, 20), 0.1), torch.zeros(4, 20), weights).item() == pytest.approx((0.1 / 0.05) ** 2)


def test_paper_attributes_are_l1():
    assert tiny_config("paper").loss.attribute_error == "l1"
    loss = AttributeLoss("l1", torch.full((20,), 0.25), torch.ones(20, dtype=torch.bool))
    weights = mean_weights(torch.ones(3, 20, dtype=torch.bool))
    assert loss(torch.full((3, 20), 0.25), torch.zeros(3, 20), weights).item() == pytest.approx(0.25)


def test_nothing_measured_is_no_loss():
    assert mean_weights(torch.zeros(2, 3, dtype=torch.bool)).sum().item() == 0


def test_gradient_penalty_is_the_squared_gradient_norm():
    training = tiny_training(tiny_config(loss={"r1": 0.5, "r1_interval": 1}))
    batch = synthetic_batch(0).to(torch.device("cpu"))
    d = training.discriminator
    measured = training.networks.losses.gradient_penalty(d, batch)["D/R1"].item()
    norms = []
    for picture in batch.driving.double():
        inputs = picture[None].float().requires_grad_(True)
        (gradient,) = torch.autograd.grad(d(inputs).realness.mean(), inputs)
        norms.append(gradient.square().sum().item())
    assert measured == pytest.approx(0.5 * np.mean(norms), rel=1e-4)


def test_identity_is_learned_from_logits():
    training = tiny_training(tiny_config("paper"))
    batch = synthetic_batch(0).to(torch.device("cpu"))
    d, losses = training.discriminator, training.networks.losses
    terms = losses.discriminator(d, batch, batch.source, batch.source)
    logits = d(batch.driving).identity
    assert terms["D/identity"].item() == pytest.approx(F.cross_entropy(logits, batch.identity).item(), rel=1e-5)
    real, fake = d(batch.driving).realness, d(batch.source).realness
    expected = ((real - 1) ** 2).mean() + 2 * (fake**2).mean()  # of G_A's and of G_N's output
    assert terms["D/adversarial"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_pseudo_target_is_detached():
    training = tiny_training(tiny_config(loss={"pseudo_target_start": 0.0}))
    networks = training.networks
    batch = synthetic_batch(0).to(torch.device("cpu"))
    step = Step(5, batch, 0.0)
    neutral = networks.neutralise(batch)
    readings = networks.losses.read(networks.discriminator, batch, neutral)
    networks._neutral_terms(step, neutral, *readings.generated, readings)["N/reconstruction"].backward()
    assert all(parameter.grad is None for parameter in training.model.generator.parameters())
    assert any(parameter.grad is not None for parameter in training.model.neutraliser.parameters())


def test_the_pseudo_target_ramps_in():
    training = tiny_training(tiny_config(steps=100, loss={"pseudo_target_start": 0.1}))
    ramps = [training.networks._pseudo_ramp(step) for step in (0, 10, 15, 20, 99)]
    assert ramps == pytest.approx([0, 0, 0.5, 1, 1])


def test_neutral_frames_are_targets_where_there_are_some():
    training = tiny_training(tiny_config())
    batch = synthetic_batch(0).to(torch.device("cpu"))
    neutral, pseudo = torch.zeros_like(batch.source), torch.ones_like(batch.source)
    encoded = training.networks.neutral_encoded.expand(4, -1)
    losses, d = training.networks.losses, training.discriminator
    readings = losses.read(d, batch, neutral)
    for ramp in (0.0, 1.0):
        terms = losses.neutralised(d, batch, neutral, encoded, pseudo, ramp, *readings.generated, readings)
        own = batch.neutral[batch.has_neutral].abs().mean() / 2  # half of the synthetic samples have one
        assert terms["N/reconstruction"].item() == pytest.approx(10 * (own.item() + ramp * 0.5), rel=1e-5)


def test_flows_are_held_against_landmarks():
    training = tiny_training(tiny_config(loss={"landmarks": 2.0}))
    batch = synthetic_batch(0).to(torch.device("cpu"))  # every second sample has a neutral frame
    neutral_flow, animated_flow = torch.zeros(4, 2, 32, 32), torch.zeros(4, 2, 32, 32)
    neutral_flow[:, 0], animated_flow[:, 1] = 0.25, -0.125
    terms = training.networks.losses.landmark_flow(batch, neutral_flow, animated_flow)
    driving, source, neutral = (
        2 * points.numpy() - 1 for points in (batch.driving_landmarks, batch.source_landmarks, batch.neutral_landmarks)
    )
    right, up = np.array([0.25, 0.0]), np.array([0.0, -0.125])
    whole = np.abs(driving + up + right - source)
    to_neutral, to_source = np.abs(driving + up - neutral), np.abs(neutral + right - source)
    to_neutral[1::2], to_source[1::2] = 0, 0
    assert terms["A/landmarks"].item() == pytest.approx(2 * (whole + to_neutral).mean(), rel=1e-5)
    assert terms["N/landmarks"].item() == pytest.approx(2 * to_source.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("gan", "real", "generated", "generator_adversarial"),
    [("lsgan", 0.75**2, 0.25**2, 0.75**2), ("hinge", 0.75, 1.25, -0.25)],
)
def test_adversarial_losses(gan, real, generated, generator_adversarial):
    losses = tiny_training(tiny_config(loss={"gan": gan})).networks.losses
    output = DiscriminatorOutput(torch.full((2, 1, 3, 3), 0.25), torch.zeros(2, 20), torch.zeros(2, 4), [])
    assert losses.adversarial(output, real=True).item() == pytest.approx(real)
    assert losses.adversarial(output, real=False).item() == pytest.approx(generated)
    assert losses.generator_adversarial(output).item() == pytest.approx(generator_adversarial)


def test_eyes_and_mouth_weigh_more():
    landmarks = torch.full((1, 68, 2), 0.5)
    for points, place in ((slice(36, 42), [0.3, 0.4]), (slice(42, 48), [0.7, 0.4]), (slice(48, 68), [0.5, 0.75])):
        around = torch.linspace(0, 2 * torch.pi, points.stop - points.start + 1)[:-1]
        landmarks[0, points] = torch.tensor(place) + 0.05 * torch.stack([around.cos(), around.sin()], dim=1)
    weights = region_weights(landmarks, 64, 3.0)[0, 0]
    assert weights.shape == (64, 64)
    assert weights.mean().item() == pytest.approx(1)
    for x, y in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.75)):
        assert weights[int(y * 64), int(x * 64)] > 2 * weights[2, 2]


def test_what_is_painted_costs_by_its_share():
    losses = tiny_training(tiny_config(loss={"painted": 2.0})).networks.losses
    kept = torch.ones(2, 1, 8, 8)
    kept[0, :, :4] = 0.5
    terms = losses.painted(kept, torch.ones(2, 1, 8, 8))
    assert terms["N/painted"].item() == pytest.approx(2 * 0.125) and terms["A/painted"] == 0


def test_a_step_has_the_painted_terms_where_they_are_asked_for():
    for weight in (0.0, 1.0):
        training = tiny_training(tiny_config(loss={"painted": weight}))
        training.step(synthetic_batch(0))
        assert ("A/painted" in training.metrics()) == (weight > 0)
