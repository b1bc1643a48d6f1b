"""The released network is built here from reference/icface.md alone, without anything of icface.networks."""

import pytest
import torch
from torch import nn

from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.release import import_release

WIDTH = 16  # the released networks have 128; the layout is the same


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
            nn.Dropout(0.5),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return x + self.conv_block(x)


class Released(nn.Module):
    def __init__(self, seed):
        super().__init__()
        w = WIDTH
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(23, w, 7, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(True),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(True),
            nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4 * w),
            nn.ReLU(True),
            *[Residual(4 * w) for _ in range(6)],
            nn.ConvTranspose2d(4 * w, 2 * w, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * w, w, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(True),
            nn.ReflectionPad2d(3),
            nn.Conv2d(w, 3, 7),
            nn.Tanh(),
        )
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)

    def forward(self, image, attributes):
        planes = attributes[:, :, None, None].repeat(1, 1, *image.shape[2:])
        return self.model(torch.cat([image, planes], 1))


@pytest.fixture
def released(tmp_path):
    torch.manual_seed(0)
    networks = {"G": Released(1).eval(), "GN": Released(2).eval()}
    for name, network in networks.items():
        torch.save(nn.DataParallel(network).state_dict(), tmp_path / f"latest_net_{name}.pth")
    return tmp_path, networks


def test_an_imported_release_gives_the_same_pictures(released):
    folder, networks = released
    save_bundle(import_release(folder / "latest_net_G.pth", folder / "latest_net_GN.pth"), folder / "bundle")
    model = load_bundle(folder / "bundle")
    image, attributes = torch.rand(2, 3, 128, 128) * 2 - 1, torch.rand(2, 20)
    with torch.no_grad():
        for ours, theirs in ((model.generator, networks["G"]), (model.neutraliser, networks["GN"])):
            assert (ours(image, attributes) - theirs(image, attributes)).abs().max() < 1e-5
    assert "non-commercial" in model.config.licence


def test_a_dict_with_the_optimisers_is_unwrapped(released):
    folder, networks = released
    torch.save({"state_dict": networks["G"].state_dict(), "optimizer": {"lr": 1}}, folder / "wrapped.pth")
    model = import_release(folder / "wrapped.pth", folder / "latest_net_GN.pth", pose_range=0.5)
    assert model.schema.attributes[0].high == 0.5
    assert model.config.model.width == WIDTH


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda state: {key: value for key, value in state.items() if key != "model.4.weight"}, "model.4.weight"),
        (lambda state: {**state, "model.16.weight": torch.zeros(1)}, "model.16.weight"),
        (lambda state: {**state, "model.99.weight": torch.zeros(1)}, "model.99.weight"),
        (lambda state: {"a": 1}, "no state dict"),
    ],
)
def test_wrong_files_are_told_by_the_first_key_that_does_not_fit(released, make, message):
    folder, networks = released
    torch.save(make(networks["G"].state_dict()), folder / "wrong.pth")
    with pytest.raises(IcfaceError, match=message):
        import_release(folder / "wrong.pth", folder / "latest_net_GN.pth")


def test_pickles_and_missing_files_are_refused(released):
    folder, _ = released
    torch.save(Residual(4), folder / "pickle.pth")
    with pytest.raises(IcfaceError, match="not a file of weights"):
        import_release(folder / "pickle.pth", folder / "latest_net_GN.pth")
    with pytest.raises(IcfaceError, match="does not exist"):
        import_release(folder / "absent.pth", folder / "latest_net_GN.pth")
