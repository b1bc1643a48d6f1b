"""A convolution with few outputs gives what `nn.Conv2d` gives, padded as on a GPU or not."""

import torch
from torch import nn

from icface.networks.few_outputs import FewOutputsConv2d


def test_padded_outputs_change_no_number_and_no_shape_of_the_weights():
    torch.manual_seed(3)
    ours, plain = FewOutputsConv2d(6, 3), nn.Conv2d(6, 3, 3, padding=1)
    plain.load_state_dict(ours.state_dict())
    for layer in (ours, plain):
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    inputs = [torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(5)).requires_grad_() for _ in range(3)]
    outputs = [run(x) for run, x in zip((ours.padded, ours, plain), inputs, strict=True)]
    assert torch.equal(outputs[1], outputs[2])
    torch.testing.assert_close(outputs[0], outputs[2])
    push = torch.randn_like(outputs[2])
    for output in (outputs[0], outputs[2]):
        (output * push).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[2].grad)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(ours, name).grad, getattr(plain, name).grad)
    assert ours.weight.grad.stride() == ours.weight.stride()
