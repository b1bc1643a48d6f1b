import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from icface.networks.config import ModelConfig
from icface.networks.discriminator import Discriminator
from icface.networks.generators import make_generator, make_neutraliser
from icface.networks.warp import followed, warp
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
    network = make_generator(ModelConfig(size=size, width=8, blocks=1), 20)
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
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 12))
    flow = rng.uniform(-0.4, 0.4, size=(2, 9, 12))
    warped = warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow)[None])[0, 0].numpy()
    rows, columns = np.mgrid[:9, :12]
    # The flow is in halves of the width: 2 units are 12 columns or 9 rows; pixels beyond the edge repeat it.
    expected = map_coordinates(image, [rows + flow[1] * 9 / 2, columns + flow[0] * 12 / 2], order=1, mode="nearest")
    np.testing.assert_allclose(warped, expected, atol=1e-5)


def test_points_follow_the_flow_that_moves_the_picture():
    # What warp brings to a place, `followed` says where it was.
    columns, rows = torch.meshgrid((torch.arange(16) + 0.5) / 8 - 1, (torch.arange(16) + 0.5) / 8 - 1, indexing="xy")
    places = torch.stack([columns, rows])[None]  # a picture of its own coordinates
    flow = 0.1 * torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
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
    judged = network(torch.rand(3, 3, size, size) * 2 - 1)
    assert judged.realness.shape[:2] == (3, 1)
    assert judged.attributes.shape == (3, 20)
    assert ((judged.attributes >= 0) & (judged.attributes <= 1)).all()
    assert network.identity_logits(judged.identity).shape == (3, 5)
    if head == "embedding":
        torch.testing.assert_close(judged.identity.norm(dim=1), torch.ones(3))


def test_identity_logits_are_not_probabilities():
    # Softmax before a cross entropy that has its own was a trap of the released code.
    torch.manual_seed(0)
    network = Discriminator(ModelConfig(size=64, discriminator_width=8, identity_head="softmax"), 20, identities=5)
    logits = network.identity_logits(network(torch.randn(4, 3, 64, 64)).identity)
    assert not torch.allclose(logits.sum(dim=1), torch.ones(4))
    assert not torch.allclose(logits, F.softmax(logits, dim=1))
