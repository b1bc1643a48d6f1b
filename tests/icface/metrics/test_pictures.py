import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.filters import laplace
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from icface.metrics.pictures import (
    HIGHEST_PSNR,
    LUMA,
    box_l1,
    box_ms_ssim,
    box_psnr,
    l1,
    laplacian_variance,
    ms_ssim,
    pixel_boxes,
    psnr,
    similarity,
    ssim,
)


def pictures(seed: int, size: int = 24, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    noise = generator.normal(0, 25, first.shape)
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_l1_is_torchs(seed: int) -> None:
    first, second = pictures(seed)
    expected = [
        torch.nn.functional.l1_loss(torch.from_numpy(a) / 255, torch.from_numpy(b) / 255).item()
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(l1(first, second), expected, rtol=1e-5)


def test_box_l1_looks_at_the_box_alone() -> None:
    first, second = pictures(0, size=20)
    boxes = [[0.1, 0.2, 0.5, 0.4]] * 3
    expected = l1(first[:, 4:12, 2:12], second[:, 4:12, 2:12])
    np.testing.assert_allclose(box_l1(first, second, boxes), expected)
    outside = second.copy()
    outside[:, 12:] = 0
    np.testing.assert_allclose(box_l1(first, outside, boxes), expected)


@pytest.mark.parametrize("size", [11, 24, 64])
def test_ssim_is_scikit_images(size: int) -> None:
    first, second = pictures(size, size=size)
    expected = [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1
        )
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(ssim(first, second), expected, atol=1e-4)  # float32 against float64


def test_ssim_within_a_box_is_scikit_images_map_there() -> None:
    first, second = pictures(5, size=40)
    found = similarity(first, second, [[0.25, 0.25, 0.5, 0.5]] * 3)
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        _, full = structural_similarity(
            *(a, b),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
            full=True,
        )
        assert found.box[index] == pytest.approx(full[10:30, 10:30].mean(), abs=1e-4)
        assert found.whole[index] != pytest.approx(found.box[index], abs=1e-5)
    outside = similarity(first, second, [[0.0, 0.0, 0.05, 0.05]] * 3)
    np.testing.assert_array_equal(outside.box, outside.whole)
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(first[:, :8, :8], second[:, :8, :8])


def test_psnr_is_scikit_images_whole_and_within_a_box() -> None:
    first, second = pictures(6)
    expected = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(psnr(first, second), expected, rtol=1e-5)
    box = [[0.25, 0.5, 0.5, 0.5]] * 3
    cut = zip(first[:, 12:, 6:18], second[:, 12:, 6:18], strict=True)
    inner = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in cut]
    np.testing.assert_allclose(box_psnr(first, second, box), inner, rtol=1e-5)
    assert psnr(first, first).tolist() == [HIGHEST_PSNR] * 3


def test_ms_ssim_is_its_definition_over_scikit_images_scales() -> None:
    generator = np.random.default_rng(0)
    smooth = generator.integers(0, 256, (1, 24, 24, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    noisy = np.clip(smooth + generator.normal(0, 30, smooth.shape), 0, 255).astype(np.uint8)
    found = ms_ssim(smooth, noisy)[0]
    assert 0 < found < 1
    a, b, product = smooth[0].astype(float), noisy[0].astype(float), 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        product *= contrast(a, b, luminance=scale == 4) ** weight
        a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean(axis=(1, 3)) for x in (a, b))
    assert found == pytest.approx(product, abs=0.01)  # torchmetrics counts the edge too, which is mirrored
    assert np.isnan(ms_ssim(smooth[:, :175], noisy[:, :175])).all()
    assert ms_ssim(smooth, smooth)[0] == pytest.approx(1)


def test_ms_ssim_within_a_box_is_the_mean_of_scipys_maps_there() -> None:
    generator = np.random.default_rng(1)
    smooth = generator.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    noisy = smooth.copy()
    noisy[:, :, 96:] = np.clip(smooth[:, :, 96:] + generator.normal(0, 60, (2, 192, 96, 3)), 0, 255).astype(np.uint8)
    boxes = np.array([[0.5, 0.25, 0.25, 0.5], [0.25, 0.25, 0.5, 0.25]])  # whole pixels on every scale but the last
    found = box_ms_ssim(smooth, noisy, boxes)
    for index, (left, top, across, down) in enumerate(boxes):
        a, b, product = smooth[index].astype(float), noisy[index].astype(float), 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            size = len(a)
            rows = slice(int(top * size), int(np.ceil((top + down) * size)))
            columns = slice(int(left * size), int(np.ceil((left + across) * size)))
            full = np.full(a.shape, np.nan)
            full[5:-5, 5:-5] = contrast_map(a, b, luminance=scale == 4)
            product *= np.nanmean(full[rows, columns]) ** weight
            a, b = (x.reshape(size // 2, 2, size // 2, 2, 3).mean(axis=(1, 3)) for x in (a, b))
        assert found[index] == pytest.approx(product, abs=1e-6)
    assert found[0] < found[1] < 1, "half of the second box is untouched"
    np.testing.assert_allclose(box_ms_ssim(smooth, smooth, boxes), 1)
    whole = np.array([[0.0, 0.0, 1.0, 1.0]] * 2)
    np.testing.assert_allclose(box_ms_ssim(smooth, noisy, whole), ms_ssim(smooth, noisy), atol=0.02)  # but for its edge


def test_ms_ssim_of_a_box_that_cannot_be_is_nothing() -> None:
    first, second = pictures(7, size=176, count=2)
    inside, at_the_edge = [0.3, 0.3, 0.4, 0.4], [0.0, 0.3, 0.02, 0.4]
    found = box_ms_ssim(first, second, [inside, at_the_edge])
    assert 0 < found[0] < 1 and np.isnan(found[1])
    assert np.isnan(box_ms_ssim(first[:, :175], second[:, :175], [inside, inside])).all()


def contrast(a: np.ndarray, b: np.ndarray, luminance: bool) -> float:
    """The mean of `contrast_map`."""
    return float(contrast_map(a, b, luminance).mean())


def contrast_map(a: np.ndarray, b: np.ndarray, luminance: bool) -> np.ndarray:
    """Structure and contrast of SSIM, on the last scale with luminance, where the window fits."""
    means = [gaussian_filter(x, 1.5, truncate=3.5, axes=(0, 1)) for x in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b, aa, bb, ab = (x[5:-5, 5:-5] for x in means)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * (ab - mean_a * mean_b) + c2) / (aa - mean_a**2 + bb - mean_b**2 + c2)
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1) if luminance else 1.0
    return structure * light


def test_ssim_falls_with_noise() -> None:
    first, _ = pictures(1, size=32)
    generator = np.random.default_rng(0)
    scores = [
        ssim(first, np.clip(first + generator.normal(0, s, first.shape), 0, 255).astype(np.uint8)).mean()
        for s in (1, 20, 80)
    ]
    assert 1 > scores[0] > scores[1] > scores[2]


def test_laplacian_variance_is_scikit_images() -> None:
    first, _ = pictures(3)
    # skimage's default Laplacian has the opposite sign, which leaves the variance; ours mirrors the edge differently.
    inner = [[1 / 24, 1 / 24, 22 / 24, 22 / 24]] * 3
    expected = [laplace(a.astype(np.float64) @ np.array(LUMA))[1:-1, 1:-1].var() for a in first]
    np.testing.assert_allclose(laplacian_variance(first, inner), expected, rtol=1e-9)


def test_blur_is_less_sharp() -> None:
    first, _ = pictures(4)
    blurred = ((first.astype(int) + np.roll(first, 1, 1) + np.roll(first, 1, 2)) // 3).astype(np.uint8)
    assert (laplacian_variance(blurred) < 0.6 * laplacian_variance(first)).all()


def test_boxes_stay_within_the_picture() -> None:
    assert pixel_boxes([[-0.5, -0.5, 3, 3], [0.99, 0.99, 0, 0], [2, 2, 1, 1]], 10, 20).tolist() == [
        [0, 0, 20, 10],
        [19, 9, 20, 10],
        [19, 9, 20, 10],
    ]


@pytest.mark.parametrize("metric", [l1, ssim])
def test_pictures_that_do_not_match_are_refused(metric: object) -> None:
    first, second = pictures(0)
    with pytest.raises(ValueError, match="targets"):
        metric(first, second[:, :12])  # type: ignore[operator]
    with pytest.raises(ValueError, match="uint8"):
        metric(first.astype(np.float32), second)  # type: ignore[operator]
