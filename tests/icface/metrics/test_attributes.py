import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import pearsonr
from torchmetrics.functional import pearson_corrcoef

from icface.metrics.attributes import centred, geodesic_degrees, mean_error, pearson, pose_error_degrees


@pytest.mark.parametrize("seed", range(4))
def test_pearson_is_scipys_and_torchmetrics(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=60)
    y = 0.4 * x + generator.normal(size=60)
    missing = generator.random((2, 60)) < 0.2
    x[missing[0]], y[missing[1]] = np.nan, np.nan
    both = ~missing.any(axis=0)
    r, count = pearson(x, y)
    assert count == both.sum()
    assert r == pytest.approx(pearsonr(x[both], y[both]).statistic, abs=1e-12)
    expected = pearson_corrcoef(torch.from_numpy(x[both]), torch.from_numpy(y[both])).item()
    assert r == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2, 3, 4], [1.0, 2, 3, 4]),
        ([0.1] * 8, range(8)),
        (range(8), [0.1] * 8),
        ([np.nan] * 8, range(8)),
    ],
    ids=["too few", "x constant", "y constant", "nothing measured"],
)
def test_pearson_says_nothing_rather_than_a_number(x: object, y: object) -> None:
    assert pearson(x, y)[0] is None  # type: ignore[arg-type]


def test_pearson_asks_for_a_spread() -> None:
    x = np.linspace(0, 0.1, 20)
    assert pearson(x, x)[0] == pytest.approx(1)
    assert pearson(x, x, least_deviation=0.1)[0] is None


def test_centring_leaves_what_varies_within_a_group() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c"], 20)
    offsets = np.repeat(generator.normal(0, 10, (3, 2)), 20, axis=0)
    asked, noise = generator.normal(size=(60, 2)), generator.normal(size=(60, 2))
    pooled, _ = pearson((asked + offsets)[:, 0], (noise + offsets)[:, 0])
    within, _ = pearson(centred(asked + offsets, groups)[:, 0], centred(noise + offsets, groups)[:, 0])
    assert pooled is not None and within is not None
    assert pooled > 0.9 and abs(within) < 0.35


def test_centring_skips_what_is_not_measured() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    result = centred(values, [0, 0, 0])
    np.testing.assert_array_equal(result, [[-1, np.nan], [np.nan, np.nan], [1, np.nan]])


def test_mean_error_of_nothing_is_nan() -> None:
    assert np.isnan(mean_error([[np.nan]], [[1.0]])).all()


def test_the_geodesic_angle_is_the_trace_formula_of_matrices_written_out() -> None:
    generator = np.random.default_rng(0)
    asked, found = generator.uniform(-0.7, 0.7, (2, 20, 3))

    def matrix(angles: np.ndarray) -> np.ndarray:
        (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
        x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        return x @ y @ z

    angles = geodesic_degrees(asked, found)
    for a, b, angle in zip(asked, found, angles, strict=True):
        trace = np.trace(matrix(a).T @ matrix(b))
        assert angle == pytest.approx(np.degrees(np.arccos((trace - 1) / 2)))
    assert np.isnan(geodesic_degrees([[0, np.nan, 0]], [[0, 0, 0]])).all()


@pytest.mark.parametrize("axis", range(3))
def test_pose_error_of_one_axis_is_the_angle_between_the_rotations(axis: int) -> None:
    generator = np.random.default_rng(axis)
    asked, found = np.zeros((10, 3)), np.zeros((10, 3))
    asked[:, axis] = generator.uniform(-math.pi, math.pi, 10)
    found[:, axis] = generator.uniform(-math.pi, math.pi, 10)
    turns = Rotation.from_euler("XYZ", asked).inv() * Rotation.from_euler("XYZ", found)
    expected = np.degrees(turns.magnitude()).mean()
    assert list(pose_error_degrees(asked, found).values())[axis] == pytest.approx(expected)
