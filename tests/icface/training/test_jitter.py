"""Random looks: what the critic's network sees, and where in the picture that is."""

import torch

from icface.training.jitter import SHIFT, SIZE, ZOOM, Look


def spot(place: tuple[int, int], size: int = 64) -> torch.Tensor:
    """(1, 3, S, S) dark, a bright spot of 4 x 4 pixels around the pixels' corner `place` (x, y)."""
    picture = -torch.ones(1, 3, size, size)
    x, y = place
    picture[..., y - 2 : y + 2, x - 2 : x + 2] = 1.0
    return picture


def test_points_found_in_the_seen_picture_are_taken_back() -> None:
    place = (20, 44)
    pictures = spot(place).expand(32, -1, -1, -1)
    look = Look.draw(32, 1, torch.device("cpu"))
    seen = look(pictures).mean(dim=1).clamp(min=0)
    assert seen.shape == (32, SIZE, SIZE)
    weights = seen / seen.sum(dim=(1, 2), keepdim=True)
    centres = (torch.arange(SIZE) + 0.5) / SIZE
    found = torch.stack([(weights.sum(dim=1) * centres).sum(dim=1), (weights.sum(dim=2) * centres).sum(dim=1)], dim=1)
    expected = torch.tensor(place) / 64
    assert (found - expected).abs().max() > 0.02  # they do lie elsewhere
    torch.testing.assert_close(look.back(found[:, None])[:, 0], expected.expand(32, -1), atol=0.01, rtol=0)


def test_the_pictures_of_a_pair_are_seen_alike_and_pairs_differently() -> None:
    look = Look.draw(4, 3, torch.device("cpu"))
    for values in (look.zoom, look.shift, look.contrast, look.brightness, look.blur):
        first, second, third = values.chunk(3)
        assert torch.equal(first, second) and torch.equal(first, third)
    assert len(look.zoom[:4].unique()) == 4
    assert (look.zoom - 1).abs().max() <= ZOOM and look.shift.abs().max() <= SHIFT


def test_gradients_reach_the_pictures() -> None:
    pictures = torch.zeros(2, 3, 32, 32, requires_grad=True)
    Look.draw(2, 1, torch.device("cpu"))(pictures).sum().backward()
    assert pictures.grad is not None
    assert bool((pictures.grad[:, :, 8:24, 8:24] > 0).all())
