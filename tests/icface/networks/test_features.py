"""EfficientNet-Lite0 against figures of the package efficientnet-lite-pytorch 0.1.0, VGG19 against its description."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from icface.errors import IcfaceError
from icface.networks.features import EfficientNetLite0, PerceptualDistance, Vgg19, folded, perceptual_distance
from icface.weights import PERCEPTUAL_NETWORK, cached

# Of that package with `made_up_weights` on `noise(64)`: mean, deviation and first value of the last block of each size.
REFERENCE = (
    (-0.014677, 0.42349, 0.329878),
    (0.155794, 0.48491, 0.393568),
    (0.117282, 0.58302, -0.290641),
    (-0.138473, 0.797045, 0.132917),
    (0.037895, 0.447531, 0.317926),
)


def synthetic_weights(network):
    """The same weights for whoever uses the file's names: drawn in the order of the names, scaled to keep activity."""
    state = network.state_dict()
    for name in sorted(state):
        tensor = state[name]
        if tensor.dtype == torch.int64:
            continue
        # Seeded by the name, so that a network with more layers gets the same.
        drawn = np.random.default_rng(list(name.encode())).standard_normal(tensor.shape)
        drawn *= tensor[0].numel() ** -0.5 if tensor.ndim == 4 else 0.2
        if name.endswith("running_var") or (name.endswith(".weight") and tensor.ndim == 1):
            drawn = np.abs(drawn) + 0.8
        tensor.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return network.eval()


def noise(size):
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32))


def test_lite0_gives_the_packages_features():
    with torch.no_grad():
        features = synthetic_weights(EfficientNetLite0())(noise(64))
    assert [tuple(f.shape[1:]) for f in features] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    found = [(f.mean().item(), f.std().item(), f[0, 0, 0, 0].item()) for f in features]
    np.testing.assert_allclose(found, REFERENCE, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [50, 64])  # an even and an uneven share of padding
def test_folding_the_batch_norms_changes_no_feature(size):
    plain, network = (synthetic_weights(EfficientNetLite0()) for _ in range(2))
    network = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        for found, expected in zip(network(noise(size)), plain(noise(size)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_lite0_has_the_published_number_of_weights():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in EfficientNetLite0().parameters())
    assert count + 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000 == 4_652_008  # with its head: 4.7 M


def test_vgg19_keeps_torchvisions_names_and_places():
    network = Vgg19()
    names = [f"features.{index}" for index in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)]
    assert [name.removesuffix(".weight") for name in network.state_dict() if name.endswith("weight")] == names
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        features = network(image)
        torch.testing.assert_close(features[0], F.relu(network.features[0](image)))
    assert [f.shape[1] for f in features] == [64, 128, 256, 512, 512]
    assert [f.shape[2] for f in features] == [32, 16, 8, 4, 2]


@pytest.mark.parametrize("network", [EfficientNetLite0, Vgg19])
def test_equal_pictures_have_no_distance_and_only_the_output_learns(network):
    distance = PerceptualDistance(synthetic_weights(network())).train()
    assert not any(module.training for module in distance.network.modules())
    target = torch.rand(1, 3, 32, 32) * 2 - 1
    assert distance(target, target).item() == 0
    output, learning = target.clone().requires_grad_(True), target.clone().requires_grad_(True)
    near, far = distance(output * 0.9, learning), distance(output * 0.1, learning)
    assert 0 < near < far
    far.backward()
    assert output.grad.abs().sum() > 0 and learning.grad is None
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_weights_that_are_not_there_or_others_are_told(tmp_path):
    with pytest.raises(IcfaceError, match="no weights of VGG19"):
        perceptual_distance("vgg19", str(tmp_path / "absent.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(IcfaceError, match=r"is not torchvision's vgg19-dcbb9e9d\.pth"):
        perceptual_distance("vgg19", str(tmp_path / "other.pth"))


def test_the_trained_weights_fit():
    if cached(PERCEPTUAL_NETWORK) is None:
        pytest.skip("needs efficientnet-lite0-57934424.pth in the cache (icface train --loss.perceptual 1 fetches it)")
    distance = perceptual_distance("efficientnet-lite0")
    assert distance(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)).item() > 0.1
