import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from icface.crop import CropRule, crop_image, smooth
from icface.errors import IcfaceError

INSIDE = ("smooth", "track", "frame")
"""Modes whose squares stay within the frame."""
MODES = (*INSIDE, "centred")
numbers = st.floats(-300, 900, allow_nan=False, width=32)
sides = st.floats(0, 900, allow_nan=False, width=32)
tracks = st.lists(st.tuples(numbers, numbers, sides, sides), min_size=1, max_size=60).map(np.array)


@given(tracks, st.sampled_from(INSIDE), st.integers(8, 700), st.integers(8, 700), st.floats(1, 60))
@settings(max_examples=200, deadline=None)
def test_squares_lie_within_the_frame(boxes: np.ndarray, mode: str, width: int, height: int, fps: float) -> None:
    squares = CropRule(mode=mode).squares(boxes, fps, width, height)
    assert squares.shape == (len(boxes), 3)
    assert squares.dtype == np.float32
    assert (squares[:, 2] >= 1).all()
    assert (squares[:, :2] >= 0).all()
    assert (squares[:, 0] + squares[:, 2] <= width + 1e-3).all()
    assert (squares[:, 1] + squares[:, 2] <= height + 1e-3).all()


@given(tracks, st.sampled_from(("smooth", "track", "centred")), st.integers(0, 4000), st.integers(0, 4000))
@settings(max_examples=100, deadline=None)
def test_squares_follow_a_shift_of_the_face(boxes: np.ndarray, mode: str, dx: int, dy: int) -> None:
    rule = CropRule(mode=mode)
    inner = boxes + np.array([3000, 3000, 1, 1])  # far from every edge of a frame of 12000 x 12000
    squares = rule.squares(inner, 25, 12000, 12000)
    shifted = rule.squares(inner + np.array([dx, dy, 0, 0]), 25, 12000, 12000)
    assert np.allclose(shifted - squares, [dx, dy, 0], atol=0.01)


@given(tracks, st.sampled_from(MODES))
@settings(max_examples=100, deadline=None)
def test_time_may_run_backwards(boxes: np.ndarray, mode: str) -> None:
    """Smoothing without delay: a track played backwards has its squares backwards."""
    rule = CropRule(mode=mode)
    squares, backwards = rule.squares(boxes, 25, 640, 480), rule.squares(boxes[::-1], 25, 640, 480)
    assert np.allclose(backwards[::-1], squares, atol=1e-3)


@given(st.integers(1, 80), st.floats(1, 60), st.floats(0, 4))
@settings(max_examples=100, deadline=None)
def test_a_face_at_rest_keeps_its_square(count: int, fps: float, seconds: float) -> None:
    boxes = np.tile([100.0, 120.0, 50.0, 60.0], (count, 1))
    squares = CropRule(smoothing_seconds=seconds).squares(boxes, fps, 640, 480)
    assert np.allclose(squares, [125 - 48, 150 - 48, 96], atol=1e-3)


def test_smoothing_takes_the_jitter_and_leaves_the_way() -> None:
    rng = np.random.default_rng(7)
    time = np.arange(200) / 25
    way = 300 + 40 * np.sin(2 * np.pi * time / 8)
    boxes = np.column_stack([way, np.full(200, 100.0), np.full(200, 80.0), np.full(200, 80.0)])
    noisy = boxes + rng.normal(0, 3, boxes.shape) * [1, 1, 0, 0]
    squares = CropRule().squares(noisy, 25, 1000, 400)
    centre = squares[:, 0] + squares[:, 2] / 2
    inside = slice(13, -13)  # the window is cut at the ends
    assert np.abs(centre - (way + 40))[inside].max() < 3
    assert np.diff(centre, 2).std() < np.diff(noisy[:, 0], 2).std() / 20


@pytest.mark.parametrize("window", [0, 1, 5, 25, 400])
def test_smoothing_is_a_weighted_mean(window: int) -> None:
    values = np.random.default_rng(3).normal(size=(40, 3))
    reach = window // 2
    weights = np.hanning(2 * reach + 3)[1:-1]
    expected = [
        np.average(
            values[max(0, i - reach) : i + reach + 1],
            axis=0,
            weights=weights[max(0, reach - i) : reach + min(reach, len(values) - 1 - i) + 1],
        )
        for i in range(len(values))
    ]
    assert np.allclose(smooth(values, window), expected)


def test_a_track_has_one_square_and_a_frame_the_largest() -> None:
    boxes = np.array([[10, 20, 40, 50], [14, 20, 40, 50], [200, 20, 40, 50]])
    squares = CropRule(mode="track", scale=2).squares(boxes, 25, 400, 300)
    assert np.allclose(squares, [0, 0, 100])  # -16 and -5, shifted inwards
    assert np.allclose(CropRule(mode="frame").squares(boxes, 25, 400, 300), [50, 0, 300])


def test_a_centred_square_leaves_the_frame_and_holds_the_face() -> None:
    """A face that fills the frame and moves up and down: `smooth` cannot follow it, `centred` has it in one place."""
    boxes = np.column_stack([np.full(80, 200.0), np.linspace(60, 120, 80), np.full((80, 2), 240.0)])
    squares = CropRule(mode="centred").squares(boxes, 25, 640, 360)
    assert np.allclose(squares[:, 2], 1.6 * 240)
    place = (boxes[:, :2] - squares[:, :2]) / squares[:, 2:]
    inside = slice(13, -13)  # the window is cut at the ends
    assert np.allclose(place[inside], (1 - 1 / 1.6) / 2, atol=1e-3)
    shifted = CropRule().squares(boxes, 25, 640, 360)
    assert np.ptp(((boxes[:, :2] - shifted[:, :2]) / shifted[:, 2:])[inside, 1]) > 0.1


@given(tracks)
@settings(max_examples=50, deadline=None)
def test_a_centred_square_is_smooths_away_from_the_edges(boxes: np.ndarray) -> None:
    inner = boxes + np.array([3000, 3000, 1, 1])
    centred, smoothed = (CropRule(mode=mode).squares(inner, 25, 12000, 12000) for mode in ("centred", "smooth"))
    assert np.array_equal(centred, smoothed)


def test_no_boxes_no_squares() -> None:
    for mode in MODES:
        assert CropRule(mode=mode).squares(np.zeros((0, 4)), 25, 100, 100).shape == (0, 3)


@pytest.mark.parametrize("values", [{"mode": "tight"}, {"scale": 0.2}, {"smoothing_seconds": -1}])
def test_bad_values_are_refused_with_a_sentence(values: dict) -> None:
    with pytest.raises(ValueError, match="crop"):
        CropRule(**values)
    with pytest.raises(IcfaceError, match="crop rule"):
        CropRule.from_json(values)


def test_a_rule_is_stored_and_read() -> None:
    rule = CropRule(mode="track", scale=1.8, smoothing_seconds=0.5)
    assert CropRule.from_json(rule.to_json()) == rule
    with pytest.raises(IcfaceError, match="colour"):
        CropRule.from_json({"colour": 1})


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def test_a_cut_of_its_own_size_is_a_slice(noise: np.ndarray) -> None:
    assert np.array_equal(crop_image(noise, (30, 10, 64), 64), noise[10:74, 30:94])


@pytest.mark.parametrize("factor", [2, 3])
def test_a_cut_that_shrinks_is_the_mean_of_blocks(noise: np.ndarray, factor: int) -> None:
    size = 24
    block = noise[6 : 6 + size * factor, 4 : 4 + size * factor].reshape(size, factor, size, factor, 3)
    assert np.abs(crop_image(noise, (4, 6, size * factor), size) - block.mean(axis=(1, 3))).max() <= 0.51


@pytest.mark.parametrize("square", [(3.25, 7.5, 20.0), (10.75, 0.0, 31.5)])
def test_a_cut_that_grows_is_bilinear(noise: np.ndarray, square: tuple[float, float, float]) -> None:
    """Held against SciPy's interpolation at the same points."""
    smoothed = cv2.GaussianBlur(noise, (0, 0), 2)
    size, (x, y, side) = 64, square
    at = (np.arange(size) + 0.5) * side / size - 0.5
    rows, columns = np.meshgrid(y + at, x + at, indexing="ij")
    for channel in range(3):
        expected = map_coordinates(smoothed[..., channel].astype(float), [rows, columns], order=1, mode="nearest")
        # OpenCV interpolates at 1/32 of a pixel.
        assert np.abs(crop_image(smoothed, square, size)[..., channel] - expected).max() <= 2


def test_beyond_the_edge_the_edge_is_repeated(noise: np.ndarray) -> None:
    crop = crop_image(noise, (-10, 0, 40), 40)
    assert np.array_equal(crop[:, :10], np.repeat(noise[:40, :1], 10, axis=1))


def test_a_square_without_a_side_is_refused(noise: np.ndarray) -> None:
    for side in (0, -3, float("nan")):
        with pytest.raises(ValueError, match="side"):
            crop_image(noise, (0, 0, side), 32)
