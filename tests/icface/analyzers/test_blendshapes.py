import numpy as np
import pytest

from icface.analyzers.blendshapes import (
    BLENDSHAPE_NAMES,
    MEASURES,
    NOT_MEASURED,
    attributes_from_blendshapes,
    sides_from_blendshapes,
)
from icface.attributes import ATTRIBUTE_NAMES, SIDE_NAMES, SIDED_UNITS

FACE = np.zeros((68, 2), np.float32)
FACE[[36, 45]] = [[-50, 0], [50, 0]]  # outer eye corners
FACE[[21, 22]] = [[-10, -20], [10, -20]]  # inner brows
FACE[[31, 35]] = [[-12, 56], [12, 56]]  # nostrils


def attributes(landmarks: np.ndarray = FACE, **blendshapes: float) -> dict[str, float]:
    shapes = np.zeros((1, 52), np.float32)
    for name, value in blendshapes.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in BLENDSHAPE_NAMES:
                shapes[0, BLENDSHAPE_NAMES.index(full)] = value
    values = attributes_from_blendshapes(shapes, np.eye(4).reshape(1, 16), landmarks[None])
    return dict(zip(ATTRIBUTE_NAMES, values[0].tolist(), strict=True))


def test_a_face_at_rest_is_zero_and_what_is_not_measured_is_nan() -> None:
    rest = attributes()
    assert {name for name, value in rest.items() if np.isnan(value)} == NOT_MEASURED
    assert set(MEASURES) | NOT_MEASURED == set(ATTRIBUTE_NAMES)
    assert all(value == 0 for name, value in rest.items() if name in MEASURES)


@pytest.mark.parametrize(
    ("blendshape", "unit"),
    [
        ("browInnerUp", "AU01"),
        ("browOuterUp", "AU02"),
        ("browDown", "AU04"),
        ("eyeWide", "AU05"),
        ("eyeSquint", "AU07"),
        ("mouthUpperUp", "AU10"),
        ("mouthSmile", "AU12"),
        ("mouthLowerDown", "AU25"),
        ("jawOpen", "AU26"),
        ("eyeBlink", "AU45"),
    ],
)
def test_a_unit_grows_with_its_blendshape(blendshape: str, unit: str) -> None:
    half, full = attributes(**{blendshape: 0.5})[unit], attributes(**{blendshape: 1.0})[unit]
    assert 0 < half < full <= 5


def test_gains_are_the_pooled_slopes_that_were_measured() -> None:
    slopes = {"browInnerUp": 1.9, "browOuterUp": 0.7, "eyeSquint": 3.2, "mouthSmile": 1.9, "jawOpen": 3.5}
    units = ("AU01", "AU02", "AU07", "AU12", "AU26")
    for (blendshape, slope), unit in zip(slopes.items(), units, strict=True):
        assert attributes(**{blendshape: 0.4})[unit] == pytest.approx(0.4 * slope, rel=1e-5)
    assert attributes(eyeBlink=0.5)["AU45"] == pytest.approx(2.2 * 0.5 - 0.3, rel=1e-5)
    assert attributes(jawOpen=0.3, mouthLowerDown=0.2)["AU25"] == pytest.approx(1.7 * 0.5, rel=1e-5)


def test_cheeks_rise_only_where_a_smile_narrows_the_eyes() -> None:
    assert attributes(mouthSmile=1)["AU06"] == attributes(eyeSquint=1)["AU06"] == 0
    assert attributes(mouthSmile=0.8, eyeSquint=0.7)["AU06"] > 0.5


def test_closed_lips_take_from_parted_ones() -> None:
    assert attributes(jawOpen=0.4, mouthClose=0.3)["AU25"] < attributes(jawOpen=0.4)["AU25"]


def test_a_wrinkled_nose_is_seen_at_any_size() -> None:
    wrinkled = FACE.copy()
    wrinkled[[21, 22], 1] += 16
    assert attributes(FACE)["AU09"] == 0
    assert attributes(wrinkled)["AU09"] > 1
    assert attributes(wrinkled * 0.01)["AU09"] == pytest.approx(attributes(wrinkled)["AU09"], rel=1e-4)


def test_values_stay_on_the_scale() -> None:
    shapes = np.random.default_rng(0).uniform(0, 1, (200, 52)) ** 0.2
    points = np.random.default_rng(1).normal(size=(200, 68, 2))
    values = attributes_from_blendshapes(shapes, np.tile(np.eye(4).reshape(16), (200, 1)), points)
    assert values.shape == (200, 20)
    assert values.dtype == np.float32
    measured = values[:, 3:][~np.isnan(values[:, 3:])]
    assert measured.min() >= 0
    assert measured.max() <= 5


def test_no_faces_no_attributes() -> None:
    assert attributes_from_blendshapes(np.zeros((0, 52)), np.zeros((0, 16)), np.zeros((0, 68, 2))).shape == (0, 20)


def test_sides_average_to_the_unit_where_nothing_is_cut_off():
    shapes = np.random.default_rng(0).uniform(0.2, 0.6, (50, 52)).astype(np.float32)
    landmarks = np.random.default_rng(1).uniform(0, 1, (50, 68, 2))
    whole = attributes_from_blendshapes(shapes, np.tile(np.eye(4).ravel(), (50, 1)), landmarks)
    sides = sides_from_blendshapes(shapes)
    for number, unit in enumerate(SIDED_UNITS):
        mean = sides[:, 2 * number : 2 * number + 2].mean(axis=1)
        np.testing.assert_allclose(mean, whole[:, ATTRIBUTE_NAMES.index(unit)], atol=1e-5, err_msg=unit)
    assert np.abs(sides[:, 0::2] - sides[:, 1::2]).max() > 0.1


def test_a_side_follows_its_own_blendshape():
    shapes = np.zeros((1, 52), np.float32)
    shapes[0, BLENDSHAPE_NAMES.index("mouthSmileLeft")] = 1.0
    found = dict(zip(SIDE_NAMES, sides_from_blendshapes(shapes)[0].tolist(), strict=True))
    assert found == dict.fromkeys(SIDE_NAMES, 0.0) | {"AU12L": pytest.approx(1.9)}
    assert np.isnan(sides_from_blendshapes(np.full((1, 52), np.nan))).all()
