"""Colours of painted mouths, held against mouths whose colours are a formula of the place in them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from icface.training.mouth_colours import ALIKE, borrowed_mouths, inside_error, skin
from icface.training.region_weights import LEAST_LIPS, between_lips, on_lips

SIZE = 64


def face(gap: float, width: float = 0.4, turn: float = 0.0, middle: tuple[float, float] = (0.5, 0.6)) -> Tensor:
    """(68, 2) landmarks: a nose and cheeks at 0.2 of the height, lips of that size around `middle`, turned clockwise.

    The outer lips lie 1.5 times as far out as the inner ones are wide.
    """
    points = torch.full((68, 2), 0.2)
    points[45, 0] = 0.7  # the left eye's outer corner: the eyes are 0.5 apart
    cos, sin = np.cos(turn), np.sin(turn)
    angles = {"inner": np.arange(8) * np.pi / 4, "outer": np.arange(12) * np.pi / 6}
    for name, first in (("inner", 60), ("outer", 48)):
        scale = 1.0 if name == "inner" else 1.5
        for index, angle in enumerate(angles[name]):
            side = np.sign(-np.sin(angle).round(9))
            along, upright = -np.cos(angle) * width / 2 * scale, side * gap / 2 * scale
            points[first + index] = torch.tensor(
                [middle[0] + along * cos - upright * sin, middle[1] + along * sin + upright * cos]
            )
    return points


def formula(gap: float, width: float, turn: float, middle: tuple[float, float]) -> np.ndarray:
    """(2, SIZE, SIZE): each pixel's place along and across the mouth of `face`, by complex numbers."""
    centres = (np.arange(SIZE) + 0.5) / SIZE
    pixels = centres[None, :] + 1j * centres[:, None] - complex(*middle)
    turned = pixels * np.exp(-1j * turn)
    return np.stack([turned.real / (width / 2), turned.imag / (gap / 2)])


def mouth_picture(colour: float, skin_colour: float, **shape: float | tuple[float, float]) -> Tensor:
    """(3, SIZE, SIZE) in [-1, 1]: red and green follow the place in the mouth, blue is `colour`; skin at the top."""
    place = formula(**shape)
    picture = np.concatenate([np.clip(0.3 * place, -0.9, 0.9) - 0.1, np.full((1, SIZE, SIZE), colour)])
    picture[:, : SIZE // 3] = skin_colour
    return torch.from_numpy(picture).float()


WIDE = {"gap": 0.3, "width": 0.4, "turn": 0.0, "middle": (0.5, 0.65)}
NARROW = {"gap": 0.1, "width": 0.4, "turn": 0.3, "middle": (0.45, 0.6)}
EDITED = {"gap": 0.09, "width": 0.3, "turn": -0.4, "middle": (0.55, 0.65)}


def test_the_error_is_the_mean_over_the_opening_and_small_mouths_count_by_their_area():
    draw = torch.Generator().manual_seed(0)
    painted, target = torch.rand(2, 3, SIZE, SIZE, generator=draw), torch.rand(2, 3, SIZE, SIZE, generator=draw)
    painted.requires_grad_(True)
    inside = torch.zeros(2, 1, SIZE, SIZE)
    inside[0, :, 20:30, 20:30] = 0.5  # 50 pixels
    inside[1, :, 40, 40:44] = 1.0  # 4 pixels, of LEAST_LIPS' 20.48
    error = inside_error(painted, target, inside)
    worth = torch.tensor([0.25, 1.0])
    difference = (painted - target).detach().abs().numpy()
    wide = difference[0, :, 20:30, 20:30].mean()
    small = difference[1, :, 40, 40:44].mean() * 4 / (LEAST_LIPS * SIZE**2)
    assert error.item() == pytest.approx((wide + small) / 2, rel=1e-5)
    assert inside_error(painted, target, inside, worth).item() == pytest.approx((wide / 4 + small) / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(error, painted)
    assert gradient[0, :, 25, 25].abs().numpy() == pytest.approx(0.5 / 50 / 3 / 2, rel=1e-5)
    assert gradient[1, :, 40, 41].abs().numpy() == pytest.approx(1 / (LEAST_LIPS * SIZE**2) / 3 / 2, rel=1e-5)
    assert (gradient.sign() == ((painted - target) * inside).sign()).all()


def test_an_edited_mouth_borrows_the_real_one_that_is_most_like_it():
    real = torch.stack(
        [mouth_picture(0.8, 0.0, **WIDE), mouth_picture(-0.8, 0.0, **NARROW), torch.zeros(3, SIZE, SIZE)]
    )
    landmarks = torch.stack([face(**WIDE), face(**NARROW), face(gap=0.001)])  # a closed mouth lends nothing
    edited = torch.zeros(1, 3, SIZE, SIZE)
    target, worth = borrowed_mouths(edited, face(**EDITED)[None], real, landmarks)
    # The narrow mouth: 0.25 high for its width and 0.8 of the eyes' distance wide, where the edited has 0.3 and 0.6.
    distance = np.hypot(np.log(0.3 / 0.25), np.log(0.6 / 0.8))
    assert worth.item() == pytest.approx(np.exp(-((distance / ALIKE) ** 2)), rel=1e-3)
    inside = between_lips(face(**EDITED)[None], SIZE)[0, 0] > 0.6
    assert inside.sum() > 40
    expected = 0.3 * formula(**EDITED) - 0.1
    np.testing.assert_allclose(target[0, :2][:, inside], expected[:, inside.numpy()], atol=0.03)
    np.testing.assert_allclose(target[0, 2][inside], -0.8, atol=1e-5)
    wide, worth = borrowed_mouths(edited, face(**{**EDITED, "gap": 0.24})[None], real, landmarks)
    np.testing.assert_allclose(wide[0, 2][inside], 0.8, atol=1e-5)
    distance = np.hypot(np.log(0.8 / 0.75), np.log(0.6 / 0.8))
    assert worth.item() == pytest.approx(np.exp(-((distance / ALIKE) ** 2)), rel=1e-3)


def test_of_mouths_of_one_form_the_dark_one_is_borrowed():
    real = torch.stack([mouth_picture(colour, 0.0, **NARROW) for colour in (0.8, -0.8, 0.3)])
    edited, landmarks = torch.zeros(1, 3, SIZE, SIZE), face(**NARROW)[None]
    target, worth = borrowed_mouths(edited, landmarks, real, landmarks.expand(3, -1, -1))
    assert worth.item() == pytest.approx(1)
    inside = between_lips(landmarks, SIZE)[0, 0] > 0.6
    np.testing.assert_allclose(target[0, 2][inside], -0.8, atol=1e-5)


@pytest.mark.parametrize(("own", "expected"), [(-0.25, 0.5 * 0.75 - 1), (-0.9, 0.5 * 0.5 - 1), (1.0, 0.5 * 2 - 1)])
def test_a_borrowed_mouth_is_as_light_against_the_skin_as_it_was(own, expected):
    real = mouth_picture(-0.5, 0.0, **NARROW)[None]  # blue is 0.5 above black, and the skin 1
    edited = torch.full((1, 3, SIZE, SIZE), own)
    assert skin(edited, face(**EDITED)[None]).numpy() == pytest.approx(1 + own)
    target, _ = borrowed_mouths(edited, face(**EDITED)[None], real, face(**NARROW)[None])
    inside = between_lips(face(**EDITED)[None], SIZE)[0, 0] > 0.6
    np.testing.assert_allclose(target[0, 2][inside], expected, atol=1e-5)  # at most twice or half as light


def test_nothing_is_borrowed_where_all_mouths_are_closed():
    real, landmarks = torch.zeros(2, 3, SIZE, SIZE), torch.stack([face(gap=0.001)] * 2)
    target, worth = borrowed_mouths(real, landmarks, real, landmarks)
    assert worth.tolist() == [0.0, 0.0] and target.isfinite().all()


def test_lips_are_a_ring_around_the_opening():
    gap, width, middle = 0.2, 0.3, (0.5, 0.6)
    ring = on_lips(face(gap, width, 0.0, middle)[None], SIZE)[0, 0]
    column = ring[:, SIZE // 2]  # downwards through the middle: opening, lip, skin
    places = {0.6: 0.0, 0.6 + 0.135: 0.5, 0.6 + 0.16: 0.4, 0.6 + 0.24: 0.0}
    for place, wanted in places.items():
        assert column[int(place * SIZE)].item() == pytest.approx(wanted, abs=0.2)
    assert column.max() > 0.4 and ring.min() >= 0
