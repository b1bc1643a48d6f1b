"""Enlarging by matrices, against PyTorch's interpolation."""

import pytest
import torch
import torch.nn.functional as F

from icface.pixels import cubic_matrix


@pytest.mark.parametrize(("cells", "size"), [(8, 128), (8, 32), (4, 64), (5, 64), (64, 256)])
def test_fields_enlarged_by_matrices_are_bicubic_interpolation(cells, size):
    fields = torch.randn(2, 2, cells, cells, requires_grad=True)
    matrix, weights = cubic_matrix(cells, size), torch.randn(2, 2, size, size)
    enlarged = matrix @ fields @ matrix.T
    expected = F.interpolate(fields, size=(size, size), mode="bicubic", align_corners=False)
    torch.testing.assert_close(enlarged, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = (torch.autograd.grad((made * weights).sum(), fields)[0] for made in (enlarged, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
