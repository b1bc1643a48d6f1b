"""The operations of a `warp` network that are written for a GPU, against PyTorch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.animate import to_pictures
from icface.networks import warp
from icface.networks.config import ModelConfig
from icface.networks.generators import make_generator


@pytest.mark.parametrize(("cells", "size"), [(8, 128), (8, 32), (4, 64), (5, 64)])
def test_fields_enlarged_by_matrices_are_bicubic_interpolation(cells, size):
    fields = torch.randn(2, 2, cells, cells, requires_grad=True)
    matrix, weights = warp.cubic_matrix(cells, size), torch.randn(2, 2, size, size)
    enlarged = matrix @ fields @ matrix.T
    expected = F.interpolate(fields, size=(size, size), mode="bicubic", align_corners=False)
    torch.testing.assert_close(enlarged, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = (torch.autograd.grad((made * weights).sum(), fields)[0] for made in (enlarged, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


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
