"""Frechet and kernel distances against SciPy and the definition written out."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from icface.metrics.realism import FEATURES, LEAST_FOR_FID, LEAST_FOR_KID, fid, kid, lite0_features
from icface.weights import PERCEPTUAL_NETWORK, cached


def sets(count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    mixing = generator.normal(0, 1, (12, 12)) / 3
    first, second = generator.normal(0, 1, (2, count, 12)) @ mixing
    return first.astype(np.float32), (second + shift).astype(np.float32)


def test_the_frechet_distance_is_scipys() -> None:
    made, real = sets(LEAST_FOR_FID, 0.4)
    a, b = np.cov(made.T), np.cov(real.T)
    expected = ((made.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert fid(made, real) == pytest.approx(expected, rel=1e-3)
    assert fid(made, made) == pytest.approx(0, abs=1e-3)
    assert fid(made[:-1], real) is None, "too few pictures for a covariance"


def test_the_kernel_distance_is_the_unbiased_estimate_written_out() -> None:
    made, real = (part.astype(np.float64) for part in sets(60, 0.4))

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    n = len(made)
    within = [(kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1)) for x in (made, real)]
    expected = sum(within) - 2 * kernel(made, real).mean()
    assert kid(made.astype(np.float32), real.astype(np.float32)) == pytest.approx(expected, rel=1e-4)
    assert kid(made[: LEAST_FOR_KID - 1].astype(np.float32), real.astype(np.float32)) is None
    near, far = (kid(*sets(60, shift)) for shift in (0.1, 1.0))
    assert near < far


def test_blurred_faces_lie_farther_off_than_the_faces_themselves() -> None:
    if cached(PERCEPTUAL_NETWORK) is None:
        pytest.skip("needs efficientnet-lite0-57934424.pth in the cache (icface evaluate fetches it)")
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    blurred = (pictures.astype(int) + np.roll(pictures, 4, 1) + np.roll(pictures, 4, 2)) // 3
    features = lite0_features()
    real, others, soft = features(pictures[:32]), features(pictures[32:]), features(blurred[32:].astype(np.uint8))
    assert real.shape == (32, FEATURES)
    assert kid(soft, real) > 3 * abs(kid(others, real))
