import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from icface.networks.config import ModelConfig
from icface.networks.discriminator import Discriminator
from icface.networks.generators import make_generator, make_neutraliser
from icface.networks.warp import FlowBasis, WarpGenerator, followed, warp
from icface.training.config import TrainConfig


def test_paper_generator_has_the_released_size():
    config = ModelConfig(architecture="resnet", width=128, dropout=0.5)
    assert (
        round(parameters(make_neutraliser, config, 20) / 1e6, 2) == 31.44
    )  # of the authors' released networks, by reference/icface.md


def parameters(make, *arguments):
    with torch.device("meta"):  # counted without being drawn
        return sum(parameter.numel() for parameter in make(*arguments).parameters())


def test_paper_discriminator_has_the_released_size():
    config = TrainConfig.preset("paper").model
    assert round(parameters(Discriminator, config, 20, 939) / 1e6) == 85  # of reference/icface.md


def test_ours_has_no_more_parameters_than_the_papers():
    """At 128 px and with the paper's 939 identities; ours has none of them in its generators or per identity."""
    counts = {}
    for preset in ("icface", "paper"):
        config = TrainConfig.preset(preset).model
        assert config.size == 128
        counts[preset] = [
            parameters(make_neutraliser, config, 20),
            parameters(make_generator, config, 20),
            parameters(Discriminator, config, 20, 939),
        ]
    assert all(ours <= papers for ours, papers in zip(*counts.values(), strict=True))


def test_paper_generator_counts_layers_as_the_release_does():
    names = set(make_neutraliser(ModelConfig(architecture="resnet", width=4, dropout=0.5), 20).state_dict())
    assert {"model.1.weight", "model.4.weight", "model.10.conv_block.1.weight", "model.23.bias"} <= names
    assert "model.1.bias" not in names  # convolutions before a norm have none


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_a_fresh_warp_generator_is_nearly_the_identity(size):
    torch.manual_seed(0)
    network = make_generator(ModelConfig(size=size, width=8, blocks=1, flow_basis=8), 20)
    image = torch.rand(1, 3, size, size) * 2 - 1
    output = network(image, torch.rand(1, 20))
    assert output.shape == image.shape
    assert (output - image).abs().mean() < 0.06


def test_the_attributes_gain_multiplies_their_distance_from_the_middle():
    torch.manual_seed(0)
    plain = make_generator(ModelConfig(size=32, width=8, blocks=1), 20)
    amplified = make_generator(ModelConfig(size=32, width=8, blocks=1, attribute_gain=4.0), 20)
    with torch.no_grad():  # a fresh generator hardly hears the attributes
        for parameter in plain.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    amplified.load_state_dict(plain.state_dict())
    image, attributes = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 20)
    expected = plain(image, attributes)
    output = amplified(image, 0.5 + (attributes - 0.5) / 4)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)  # rounding, amplified by large weights
    assert (output - amplified(image, attributes)).abs().max() > 0.1


def test_warp_samples_where_the_flow_points():
    # OpenCV's cubic interpolation as the independent one; it rounds places to 1/32 px, so ours lie on those.
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 12)).astype(np.float32)
    moved = rng.integers(-64, 64, size=(2, 9, 12)).astype(np.float32) / 32  # pixels
    # The flow is in halves of the width: 2 units are 12 columns or 9 rows.
    flow = np.stack([moved[0] * 2 / 12, moved[1] * 2 / 9])
    warped = warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow)[None])[0, 0].numpy()
    rows, columns = np.mgrid[:9, :12].astype(np.float32)
    expected = cv2.remap(image, columns + moved[0], rows + moved[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(warped, expected, atol=1e-4)


def test_fields_of_flow_add_up_with_the_attributes():
    torch.manual_seed(0)
    basis = FlowBasis(4, attributes=3, channels=8, size=32)
    with torch.no_grad():
        for parameter in basis.parameters():
            parameter += torch.randn_like(parameter)
    features = torch.randn(1, 8, 2, 2)
    none, first, second, both = (
        basis(torch.tensor([encoded]), features) for encoded in ([0.0, 0, 0], [1.0, 0, 0], [0, 0.5, 0], [1.0, 0.5, 0])
    )
    assert none.shape == (1, 2, 32, 32)
    torch.testing.assert_close(both - none, (first - none) + (second - none), atol=1e-5, rtol=0)
    # A field's cell lies where it is in the picture: the last of the first row is the upper right.
    with torch.no_grad():
        basis.fields.weight[:, 2] = 0
        basis.fields.weight[3, 2] = 1
    none, one = (basis(torch.tensor([encoded]), features) for encoded in ([0.0, 0, 0], [0.0, 0, 1]))
    field = (one - none)[0]
    assert field[0].argmax() % 32 >= 24 and field[0].argmax() // 32 < 8
    assert field[1].abs().max() < 1e-5


def test_a_face_moves_with_what_is_seen_in_the_picture():
    # A neutraliser is always told the same; how far it moves the face must come from the face.
    torch.manual_seed(0)
    basis = FlowBasis(4, attributes=3, channels=8, size=32)
    with torch.no_grad():
        basis.fields.weight += torch.randn_like(basis.fields.weight)
    flows = basis(torch.zeros(2, 3), torch.randn(2, 8, 2, 2))
    assert (flows[0] - flows[1]).abs().max() > 0.01


def test_points_follow_the_flow_that_moves_the_picture():
    # What warp brings to a place, `followed` says where it was.
    columns, rows = torch.meshgrid((torch.arange(16) + 0.5) / 8 - 1, (torch.arange(16) + 0.5) / 8 - 1, indexing="xy")
    places = torch.stack([columns, rows])[None]  # a picture of its own coordinates
    # Whole pixels: between them cubic sampling does not give a ramp back.
    flow = torch.randint(-3, 4, (1, 2, 16, 16), generator=torch.Generator().manual_seed(0)) / 8
    points = places[0, :, 5:11, 5:11].flatten(1).T[None]
    came_from = warp(places, flow)[0, :, 5:11, 5:11].flatten(1).T[None]
    torch.testing.assert_close(followed(flow, points), came_from, atol=1e-5, rtol=0)


def test_no_flow_gives_the_picture_back():
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 16, 16)), image)


@pytest.mark.parametrize("head", ["softmax", "embedding"])
@pytest.mark.parametrize("size", [64, 128])
def test_discriminator_judges_all_three(head, size):
    torch.manual_seed(0)
    network = Discriminator(ModelConfig(size=size, discriminator_width=8, identity_head=head), 20, identities=5)
    output = network(torch.rand(3, 3, size, size) * 2 - 1)
    assert output.realness.shape[:2] == (3, 1)
    assert output.attributes.shape == (3, 20)
    assert ((output.attributes >= 0) & (output.attributes <= 1)).all()
    assert network.identity_logits(output.identity).shape == (3, 5)
    if head == "embedding":
        torch.testing.assert_close(output.identity.norm(dim=1), torch.ones(3))


def test_identity_logits_are_not_probabilities():
    # Softmax before a cross entropy that has its own was a trap of the released code.
    torch.manual_seed(0)
    network = Discriminator(ModelConfig(size=64, discriminator_width=8, identity_head="softmax"), 20, identities=5)
    logits = network.identity_logits(network(torch.randn(4, 3, 64, 64)).identity)
    assert not torch.allclose(logits.sum(dim=1), torch.ones(4))
    assert not torch.allclose(logits, F.softmax(logits, dim=1))


def test_smooth_painting_cannot_hold_a_chequer():
    network = WarpGenerator(ModelConfig(size=32, width=8, blocks=1, painting="smooth"), 20)
    unfolded = WarpGenerator(ModelConfig(size=32, width=8, blocks=1), 20)
    with torch.no_grad():
        for each in (network, unfolded):
            each.flow.bias[2] = -20.0  # all is painted
            each.paint.weight.zero_()
            each.paint.bias.copy_(torch.tensor([0.5, -0.5, -0.5, 0.5]).repeat(3))  # of each 2 x 2 pixels
        inputs = torch.zeros(1, 3, 32, 32), torch.full((1, 20), 0.5)
        assert unfolded(*inputs).std() > 0.4
        assert network(*inputs)[..., 1:-1, 1:-1].abs().max() < 1e-6


def test_a_judge_of_what_is_shown_teaches_flow_and_mask_but_no_paint():
    torch.manual_seed(0)
    network = WarpGenerator(ModelConfig(size=32, width=8, blocks=1), 20)
    with torch.no_grad():
        network.flow.bias[2] = 0.0  # half is painted
    given = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 20)
    made = network(*given, with_flow=True)
    assert torch.equal(made.shown, made.picture) and torch.equal(network(*given), made.picture)
    assert made.kept.mean().item() == pytest.approx(0.5, abs=0.2)
    made.shown.square().mean().backward(retain_graph=True)
    assert network.paint.weight.grad is None and network.paint.bias.grad is None
    assert (network.flow.bias.grad != 0).all()
    made.picture.square().mean().backward()
    assert network.paint.weight.grad is not None and network.paint.weight.grad.abs().sum() > 0
