"""The kernels of `fused_modulation` against the same written out. Without a GPU Triton's interpreter runs them."""

import os

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when kernels are made

from icface.networks import fused_modulation
from icface.networks.warp import modulate_written_out

pytestmark = pytest.mark.skipif(not fused_modulation.AVAILABLE, reason="PyTorch for CPUs has no Triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(("channels", "side", "groups"), [(32, 8, 2), (64, 20, 4), (24, 5, 1), (8, 32, 1)])
@pytest.mark.parametrize(
    ("kind", "film_kind"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)],
)
def test_values_and_gradients_are_those_of_the_plain_version(channels, side, groups, kind, film_kind):
    draw = torch.Generator().manual_seed(channels)
    x = (3 + 2 * torch.randn(3, channels, side, side, generator=draw)).to(DEVICE)
    both = torch.randn(3, 2 * channels, generator=draw).to(DEVICE)
    along = torch.randn(3, channels, side, side, generator=draw).to(DEVICE, kind)
    results = []
    for function, exact in ((fused_modulation.modulate, False), (modulate_written_out, True)):
        made_in = torch.float32 if exact else kind
        given = x.to(kind).to(made_in).to(memory_format=torch.channels_last).requires_grad_()
        film = both.to(film_kind).to(made_in if exact else film_kind).requires_grad_()
        scale, shift = film[:, :, None, None].chunk(2, dim=1)
        y = function(given, scale, shift, groups)
        (y.float() * along.float()).sum().backward()
        results.append((y, given.grad, film.grad))
    fused, plain = results
    assert fused[2].dtype == film_kind
    assert fused[0].dtype == kind and fused[0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(fused, plain, strict=True):
        error = (one.float() - other).norm() / other.norm()
        assert error < (1e-5 if kind == torch.float32 else 6e-3)


def test_any_memory_order_is_read():
    x, scale, shift = torch.randn(2, 16, 4, 4, device=DEVICE), *torch.randn(2, 2, 16, 1, 1, device=DEVICE)
    made = fused_modulation.modulate(x.transpose(2, 3), scale, shift, 1)
    torch.testing.assert_close(made, modulate_written_out(x.transpose(2, 3), scale, shift, 1))
