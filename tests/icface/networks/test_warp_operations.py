"""The operations of a `warp` network, against PyTorch's own and against known answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.animate import to_pictures
from icface.networks import warp
from icface.networks.config import ModelConfig
from icface.networks.generators import make_generator


def test_affine_flow_is_that_of_a_grid():
    parameters = (0.3 * torch.randn(3, 6, dtype=torch.float64)).requires_grad_()
    rows, columns = warp.along_side(8).double(), warp.along_side(16).double()
    made = warp.affine_flow(parameters, rows, columns)
    grid = F.affine_grid(parameters.view(3, 2, 3), [3, 1, 8, 16], align_corners=False)
    expected = grid.permute(0, 3, 1, 2)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(made)
    ours, theirs = (torch.autograd.grad((flow * weights).sum(), parameters)[0] for flow in (made, expected))
    torch.testing.assert_close(ours, theirs)


def test_the_fields_leave_their_gradient_in_the_order_of_the_features():
    """Else each gradient that is added to it, of block after block, changes its order too."""
    basis = warp.FlowBasis(4, 5, 6, 32)
    torch.nn.init.normal_(basis.fields.weight)
    features = torch.randn(2, 6, 8, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    attributes, weights = torch.randn(2, 5), torch.randn(2, 2, 32, 32)
    orders, gradients = [], []
    for given in (features, features.float().contiguous()):
        given.requires_grad_()
        (gradient,) = torch.autograd.grad((basis(attributes, given) * weights).sum(), given)
        orders.append(gradient.is_contiguous(memory_format=torch.channels_last))
        gradients.append(gradient.float())
    assert orders == [True, True]
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_folding_is_pixel_shuffle_in_channels_last_order(order):
    image = torch.randn(2, 3, 8, 12).to(memory_format=order)
    folded = warp.fold(image)
    assert torch.equal(folded, F.pixel_unshuffle(image, 2))
    assert torch.equal(warp.unfold(folded), image)
    assert folded.is_contiguous(memory_format=torch.channels_last)
    assert warp.unfold(folded).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.06)])
def test_modulation_keeps_type_and_order_and_is_group_norm_scale_shift_silu(dtype, tolerance):
    x = (3 * torch.randn(2, 32, 6, 6) + 1).to(dtype).contiguous(memory_format=torch.channels_last)
    scale, shift = (0.3 * torch.randn(2, 2, 32, 1, 1)).to(dtype)
    expected = F.silu(F.group_norm(x.double(), 2) * (1 + scale.double()) + shift.double()).float()
    ours = (warp.modulate(x, scale, shift, 2), warp.modulate_written_out(x, scale, shift, 2))
    for made in ours:
        assert made.dtype == dtype and made.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(made.float(), expected, atol=tolerance, rtol=tolerance)


def test_flow_and_picture_stay_float32_under_autocast():
    """The flow that the attributes alone decide is the same; bfloat16 would be off by 1 part in 256 of it."""
    generator = make_generator(ModelConfig(size=32, width=8, blocks=1, flow_basis=4), 20)
    for weight, _ in generator.attribute_weights()[1:]:
        torch.nn.init.normal_(weight, 0.0, 0.02)
    torch.nn.init.zeros_(generator.basis.read)
    image, attributes = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 20)
    with torch.no_grad():
        flow = generator(image, attributes, with_flow=True).flow
        with torch.autocast("cpu", torch.bfloat16):
            made = generator(image, attributes, with_flow=True)
    fast = made.flow
    assert made.picture.dtype == fast.dtype == torch.float32
    assert flow.abs().max() > 0.05
    torch.testing.assert_close(fast, flow, atol=1e-6, rtol=1e-6)


def test_a_trained_model_makes_the_same_pictures_in_bfloat16():
    """At most 2 of 255 apart on 99.9 % of the pixels, after a short training on smooth pictures."""
    config = tiny_config(steps=120, model={"width": 16}, precision="float32", loss={"adversarial": 0.0, "r1": 0.0})
    training = tiny_training(config)

    def smooth(step):
        batch = synthetic_batch(step)
        for name in ("source", "driving", "neutral"):
            small = F.avg_pool2d(getattr(batch, name).float(), 8)
            large = F.interpolate(small, scale_factor=8.0, mode="bicubic").clamp(0, 255)
            getattr(batch, name).copy_(large.round())
        return batch

    for step in range(config.steps):
        training.step(smooth(step))
    model, batch = training.model.eval(), smooth(1000).to(torch.device("cpu"))
    made = {}
    with torch.no_grad():
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                made[enabled] = to_pictures(model.generator(batch.source, batch.driving_encoded)).astype(int)
    source = to_pictures(batch.source).astype(int)
    assert np.abs(made[False] - source).mean() > 2, "the model has learned to change the picture"
    assert (np.abs(made[True] - made[False]) <= 2).mean() >= 0.999


def affine(matrix, shift, size=24):
    """(1, 2, S, S) float32: the flow of p -> matrix p + shift about the middle, in half widths."""
    moved = np.column_stack([np.array(matrix) - np.eye(2), shift]).astype(np.float32)
    along = warp.along_side(size)
    return warp.affine_flow(torch.from_numpy(moved.reshape(1, 6)), along, along)


def layers_of(source, flow, kept, painted):
    """Layers of a neutral picture by their definition."""
    moved = warp.warp(source, flow)
    made = warp.Warped(kept * moved + (1 - kept) * painted, flow, kept, moved, painted)
    return made.layers(source)


def test_pixels_are_fetched_from_the_source_through_both_flows():
    source, first = torch.rand(1, 3, 24, 24) * 2 - 1, ([[1.1, 0.1], [-0.05, 0.95]], [0.02, -0.03])
    second = ([[0.9, -0.1], [0.1, 0.92]], [0.03, 0.01])
    layers = layers_of(source, affine(*first), torch.ones(1, 1, 24, 24), torch.zeros(1, 3, 24, 24))
    (a, b), (c, d) = (tuple(np.array(part) for part in each) for each in (first, second))
    both = affine(a @ c, a @ d + b)
    inside = (..., slice(4, 20), slice(4, 20))  # where no place lies outside of the picture
    once = warp.fetched(layers, affine(*second))
    torch.testing.assert_close(once[inside], warp.warp(source, both)[inside], atol=1e-4, rtol=0)
    twice = warp.warp(layers[:, :3], affine(*second))
    assert twice[inside].var() < 0.9 * once[inside].var()  # sampling once more blurs


def test_what_does_not_move_again_is_the_neutral_picture():
    source, painted = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    kept, still = torch.rand(2, 1, 16, 16), torch.zeros(2, 2, 16, 16)
    layers = layers_of(source, torch.randn(2, 2, 16, 16) / 20, kept, painted)
    assert layers.shape == (2, warp.LAYERS, 16, 16)
    torch.testing.assert_close(warp.fetched(layers, still), layers[:, :3])
    moved = torch.full((2, 2, 16, 16), 4 / 8)  # by four pixels: paint moves with the rest
    torch.testing.assert_close(warp.fetched(layers, moved)[..., :12, :12], layers[:, :3, 4:, 4:])


@pytest.mark.parametrize("taught", [True, False])
def test_layers_without_paint_that_learns(taught):
    source, flow = torch.rand(1, 3, 8, 8), torch.zeros(1, 2, 8, 8, requires_grad=True)
    kept = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    painted = torch.rand(1, 3, 8, 8, requires_grad=True)
    moved = warp.warp(source, flow)
    made = warp.Warped(kept * moved + (1 - kept) * painted, flow, kept, moved, painted)
    warp.fetched(made.layers(source, taught), flow.detach() + 0.1).sum().backward()
    assert flow.grad.abs().max() > 0 and kept.grad.abs().max() > 0
    assert (painted.grad is not None) == taught


def test_a_layered_generator_sees_the_picture_and_moves_the_source():
    config = ModelConfig(size=32, width=8, blocks=1, pixels_from="source")
    torch.manual_seed(0)
    generator = make_generator(config, 20)
    with torch.no_grad():
        generator.affine.weight.normal_(0, 0.2)
    layers, told = torch.rand(2, warp.LAYERS, 32, 32) * 2 - 1, torch.rand(2, 20)
    seen, alone = generator(layers, told, with_flow=True), generator(layers[:, :3].contiguous(), told, with_flow=True)
    torch.testing.assert_close(seen.flow, alone.flow)
    torch.testing.assert_close(seen.kept, alone.kept)
    torch.testing.assert_close(seen.moved, warp.fetched(layers, seen.flow).clamp(-1, 1))
