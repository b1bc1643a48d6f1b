from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training
from torch import Tensor

from icface.errors import IcfaceError
from icface.networks.discriminator import DiscriminatorOutput
from icface.training.batch import mean_weights
from icface.training.losses import ELSEWHERE, INSIDE, LIDS, LIPS, AttributeLoss
from icface.training.phases import Step
from icface.training.region_weights import LEAST_LIPS, between_lips, closed_eyes, misplaced_paint, region_weights


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
    step = Step(5, batch, 0.0, ramp=1.0)
    neutral = networks.neutralise(batch)
    readings = networks.losses.read(networks.discriminator, batch, neutral[:, :3])
    networks._neutral_terms(step, neutral, *readings.generated, readings)["N/reconstruction"].backward()
    assert all(parameter.grad is None for parameter in training.model.generator.parameters())
    assert any(parameter.grad is not None for parameter in training.model.neutraliser.parameters())


@pytest.mark.parametrize("mouths", [False, True])
def test_with_mouths_judges_of_the_generator_do_not_teach_what_the_neutraliser_paints(mouths):
    training = tiny_training(tiny_config(loss={"mouths": mouths}))
    for network in (training.model.neutraliser, training.model.generator):
        torch.nn.init.zeros_(network.flow.bias)  # half is painted
        torch.nn.init.normal_(network.flow.weight, 0.0, 0.1)
    terms = training.networks._generators(Step(0, synthetic_batch(0).to(torch.device("cpu")), 0.0))
    paint, flow = training.model.neutraliser.paint.weight, training.model.neutraliser.flow.weight
    painted = {}
    for name in ("A/reconstruction", "A/adversarial", "N/reconstruction", "N/adversarial"):
        found = torch.autograd.grad(terms[name], (paint, flow), retain_graph=True, allow_unused=True)
        painted[name] = found[0] is not None and bool(found[0].abs().sum() > 0)
        assert found[1].abs().sum() > 0, name
    assert painted == {
        "A/reconstruction": not mouths,
        "A/adversarial": not mouths,
        "N/reconstruction": True,
        "N/adversarial": True,
    }


def test_the_pseudo_target_ramps_in():
    training = tiny_training(tiny_config(steps=100, loss={"pseudo_target_start": 0.1}))
    assert [training.networks.pseudo_ramp(step) for step in (0, 10)] == [None, None]
    assert [training.networks.pseudo_ramp(step) for step in (15, 20, 99)] == pytest.approx([0.5, 1, 1])


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


def test_eyes_and_mouth_of_a_neutral_frame_weigh_more_and_a_pseudo_target_has_none():
    training = tiny_training(tiny_config(loss={"regions": 3.0, "mouths": True}))
    losses, d = training.networks.losses, training.discriminator
    batch = synthetic_batch(0).to(torch.device("cpu"))
    neutral, pseudo = torch.zeros_like(batch.source), torch.ones_like(batch.source)
    encoded = training.networks.neutral_encoded.expand(4, -1)
    readings = losses.read(d, batch, neutral)
    terms = losses.neutralised(d, batch, neutral, encoded, pseudo, 0.5, *readings.generated, readings)
    weighted = batch.neutral.abs() * region_weights(batch.neutral_landmarks, batch.neutral.shape[-1], 3.0)
    own = weighted[batch.has_neutral].mean().item() / 2
    assert own != pytest.approx(batch.neutral[batch.has_neutral].abs().mean().item() / 2, rel=1e-3)
    assert terms["N/reconstruction"].item() == pytest.approx(10 * (own + 0.5 * 0.5), rel=1e-5)


@pytest.mark.parametrize("mouths", [False, True])
def test_flows_are_held_against_landmarks(mouths):
    training = tiny_training(tiny_config(loss={"landmarks": 2.0, "mouths": mouths}))
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
    weights = np.where(np.arange(68) >= 36, 3.0 if mouths else 1.0, 1.0)  # lids and lips

    def mean(distances):
        return np.average(distances.mean(axis=(0, 2)), weights=weights)

    assert terms["A/landmarks"].item() == pytest.approx(2 * mean(whole + to_neutral), rel=1e-5)
    assert terms["N/landmarks"].item() == pytest.approx(2 * mean(to_source), rel=1e-5)


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


def face_with_lips(gap: float, turn: float = 0.0) -> Tensor:
    """(68, 2) landmarks: inner lips in the middle, 0.4 wide and `gap` high, all turned clockwise by `turn` radians."""
    points = torch.full((68, 2), 0.5)
    x, y = torch.tensor([-2.0, -1, 0, 1, 2, 1, 0, -1]) / 10, torch.tensor([0.0, -1, -1, -1, 0, 1, 1, 1]) * gap / 2
    cos, sin = np.cos(turn), np.sin(turn)
    points[60:68] += torch.stack([x * cos - y * sin, x * sin + y * cos], dim=1)
    return points


def test_with_mouths_what_is_painted_between_the_lips_is_the_driving_frames():
    losses = tiny_training(tiny_config(loss={"mouths": True})).networks.losses
    batch = synthetic_batch(0, 2).to(torch.device("cpu"))
    batch = replace(batch, driving_landmarks=torch.stack([face_with_lips(0.2), face_with_lips(0.0)]))
    painted = torch.zeros_like(batch.driving).requires_grad_(True)
    term = losses.inside(batch, painted)["A/inside"]
    inside = between_lips(batch.driving_landmarks, painted.shape[-1])[0, 0].numpy()
    error = np.average(batch.driving[0].abs().mean(dim=0).numpy(), weights=inside)  # one of two mouths is open
    assert term.item() == pytest.approx(INSIDE * error / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(term, painted)
    assert (gradient[0, 0] != 0).numpy()[inside == 1].all() and (gradient[0, 0] == 0).numpy()[inside == 0].all()


def face_with_eyes(*shapes: float) -> Tensor:
    """(68, 2) landmarks: two eyes, 0.2 wide, with these heights over their width; all else in the middle."""
    points = torch.full((68, 2), 0.5)
    for first, middle, shape in zip((36, 42), (0.3, 0.7), shapes, strict=True):
        x = torch.tensor([-0.1, -0.03, 0.03, 0.1, 0.03, -0.03])
        y = torch.tensor([0.0, -0.1, -0.1, 0.0, 0.1, 0.1]) * shape
        points[first : first + 6] = torch.stack([middle + x, 0.3 + y], dim=1)
    return points


def test_a_closed_eye_weighs_more():
    faces = torch.stack([face_with_eyes(0.35, 0.35), face_with_eyes(0.155, 0.05)])
    assert closed_eyes(faces).numpy() == pytest.approx(np.array([[0, 0], [0.5, 1]]), abs=1e-5)
    plain, lids = region_weights(faces, 64, 3.0), region_weights(faces, 64, 3.0, 2.0)
    assert torch.equal(plain[0], lids[0])
    right, left, corner = lids[1, 0, 19, 19], lids[1, 0, 19, 44], lids[1, 0, 63, 0]
    # On an eye 1 + 3 x (1 + 2 x closed), in the picture's corner 1.
    assert (right / corner).item() == pytest.approx(7, rel=0.03) and (left / corner).item() == pytest.approx(
        10, rel=0.03
    )
    assert lids.mean(dim=(1, 2, 3)).numpy() == pytest.approx(1)


@pytest.mark.parametrize("mouths", [False, True])
def test_with_mouths_the_reconstruction_sees_closed_eyes(mouths):
    losses = tiny_training(tiny_config(loss={"regions": 3.0, "mouths": mouths})).networks.losses
    faces = face_with_eyes(0.05, 0.35)[None]
    output, target = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    target[..., 15:24, 12:26] = 1.0  # on the closed eye
    expected = region_weights(faces, 64, 3.0, LIDS if mouths else 0.0)[0, 0, 15:24, 12:26].sum() / 64**2
    assert losses.reconstruction(output, target, faces).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("turn", [0.0, 0.5, -1.0])
def test_between_lips_is_the_mouths_opening_at_any_angle(turn):
    inside = between_lips(torch.stack([face_with_lips(0.2, turn), face_with_lips(0.0)]), 64)
    assert inside.shape == (2, 1, 64, 64)
    assert inside[1].max() == 0  # a closed mouth
    along = np.array([np.cos(turn), np.sin(turn)])
    for across, up, wanted in ((0.0, 0.0, 1), (0.08, 0.0, 1), (0.0, 0.09, 0.6), (0.0, 0.17, 0), (0.32, 0.0, 0)):
        x, y = 64 * (0.5 + across * along + up * np.array([-along[1], along[0]]))
        assert inside[0, 0, int(y), int(x)].item() == pytest.approx(wanted, abs=0.25)
    # The ellipse has its full size at a half: its area is pi / 4 x 0.4 x 0.2.
    assert (inside[0] > 0.5).float().mean().item() == pytest.approx(np.pi / 4 * 0.08, rel=0.08)


def test_what_is_painted_costs_by_its_share():
    losses = tiny_training(tiny_config(loss={"painted": 2.0})).networks.losses
    batch = synthetic_batch(0, 2).to(torch.device("cpu"))
    kept = torch.ones(2, 1, 8, 8)
    kept[0, :, :4] = 0.5
    terms = losses.painted(batch, kept, torch.ones(2, 1, 8, 8))
    assert terms.keys() == {"A/painted", "N/painted"}
    assert terms["N/painted"].item() == pytest.approx(2 * 0.125) and terms["A/painted"] == 0


def test_with_mouths_paint_costs_by_its_share_outside_of_the_lips():
    losses = tiny_training(tiny_config(loss={"painted": 2.0, "mouths": True})).networks.losses
    batch = synthetic_batch(0, 2).to(torch.device("cpu"))
    batch = replace(batch, driving_landmarks=torch.stack([face_with_lips(0.2), face_with_lips(0.0)]))
    kept = torch.ones(2, 1, 64, 64)
    kept[0, :, :16] = 0.5  # far from the mouth
    inside = between_lips(batch.driving_landmarks, 64)
    assert losses.painted(batch, kept, kept)["A/painted"].item() == pytest.approx(ELSEWHERE * 2 * 0.5 * 0.25 / 2)
    terms = losses.painted(batch, kept, 1 - inside)
    assert terms["N/painted"].item() == pytest.approx(2 * 0.5 * 0.25 / 2)
    assert terms["A/painted"].item() == pytest.approx(ELSEWHERE * 2 * (inside * (1 - inside)).mean().item())


@pytest.mark.parametrize(("gap", "counts"), [(0.2, 1.0), (0.01, None)])
def test_between_the_lips_costs_what_is_not_painted_by_its_logarithm(gap, counts):
    losses = tiny_training(tiny_config(loss={"painted": 2.0, "mouths": True})).networks.losses
    batch = synthetic_batch(0, 2).to(torch.device("cpu"))
    lips = torch.stack([face_with_lips(gap), face_with_lips(0.0)])
    inside = between_lips(lips, 64)[0].numpy()
    if counts is None:  # a mouth that hardly opens counts by its area
        counts = inside.sum() / (LEAST_LIPS * 64 * 64)
        assert counts < 0.9
    kept = torch.full((2, 1, 64, 64), 0.75)
    term = losses.painted(replace(batch, driving_landmarks=lips), kept, kept)["A/lips"].item()
    # One face of the two has its mouth open; binary cross-entropy with "painted" as the answer.
    assert term == pytest.approx(LIPS * 2 * counts * np.log(4) / 2, rel=1e-5)
    closed = torch.ones(2, 1, 64, 64)
    assert np.isfinite(losses.painted(replace(batch, driving_landmarks=lips), closed, closed)["A/lips"].item())


def test_the_cost_of_paint_opens_a_closed_mask_between_the_lips_and_closes_it_elsewhere():
    mask = torch.full((1, 1, 64, 64), 8.0, requires_grad=True)
    elsewhere, lips = misplaced_paint(torch.sigmoid(mask), face_with_lips(0.2)[None])
    inside = between_lips(face_with_lips(0.2)[None], 64)
    (opens,) = torch.autograd.grad(lips, mask, retain_graph=True)
    (closes,) = torch.autograd.grad(elsewhere, mask)
    # A sigmoid at 8 has a slope of 0.0003; the logarithm's gradient is that of an open mask.
    assert opens.sum().item() == pytest.approx(1, abs=0.01)
    assert (opens[inside == 0] == 0).all() and (closes[inside < 1] < 0).all() and (closes[inside == 1] == 0).all()


def test_a_step_has_the_painted_terms_where_they_are_asked_for():
    for weight, mouths, wanted in (
        (0.0, False, ""),
        (1.0, False, "A/painted N/painted"),
        (1.0, True, "A/lips A/inside"),
    ):
        training = tiny_training(tiny_config(loss={"painted": weight, "mouths": mouths}))
        training.step(synthetic_batch(0))
        found = {"A/painted", "A/lips", "A/inside", "N/painted"} & set(training.metrics())
        assert found == ({"A/painted", "N/painted"} if weight else set()) | set(wanted.split())
    with pytest.raises(IcfaceError, match=r"loss.mouths needs loss.painted"):
        tiny_config(loss={"painted": 0.0, "mouths": True})


def test_with_mouths_the_heads_of_d_weigh_less_than_realism():
    terms = {}
    for mouths in (False, True):
        training = tiny_training(tiny_config(loss={"adversarial": 0.25, "mouths": mouths}))
        batch = synthetic_batch(0).to(torch.device("cpu"))
        terms[mouths] = training.networks.losses.discriminator(training.discriminator, batch, batch.source)
    assert terms[True]["D/adversarial"].item() == pytest.approx(4 * terms[False]["D/adversarial"].item())
    for name in ("D/attribute", "D/identity"):
        assert terms[True][name].item() == pytest.approx(0.1 * terms[False][name].item())
