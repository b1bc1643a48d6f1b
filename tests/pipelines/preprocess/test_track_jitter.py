"""How much landmarks tremble, beside what was put into them."""

from pathlib import Path

import numpy as np
import pytest
from support.datasets import flat_config

from icface.analyzers.face import Analyzer
from pipelines.preprocess.clip_rows import clip_rows
from pipelines.preprocess.track_jitter import jitter
from pipelines.sources import Clip

EYES = 60.0
"""Pixels between the outer corners of the eyes."""


def track(frames: int = 40, noise: float = 0.0, motion: float = 0.0, seed: int = 0) -> np.ndarray:
    """(frames, 68, 2): a face that moves through the picture, opens its mouth slowly, and trembles by `noise` px."""
    rng = np.random.default_rng(seed)
    face = rng.uniform(0, 100, (68, 2))
    face[36], face[45] = (20, 40), (20 + EYES, 40)
    points = np.repeat(face[None], frames, axis=0)
    points += motion * np.arange(frames)[:, None, None] ** 2  # a place that is faster and faster
    points[:, 48:, 1] += 5 * np.sin(np.arange(frames) / 8)[:, None]
    return (points + rng.normal(0, noise, points.shape)).astype(np.float32)


def test_motion_of_the_head_is_no_jitter():
    places = np.arange(40)
    assert jitter(track(motion=3.0), places) == pytest.approx(jitter(track(), places), rel=0.01)
    assert jitter(track(), places) < 0.1


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_it_grows_with_the_trembling(noise: float):
    # The second difference of independent noise has 6 times its variance; the mean length of such a vector in the
    # plane is sqrt(pi / 2) times its deviation in each direction.
    expected = 100 * noise * np.sqrt(6) * np.sqrt(np.pi / 2) / EYES
    assert jitter(track(noise=noise), np.arange(40)) == pytest.approx(expected, rel=0.05)


def test_only_frames_in_a_row_count():
    points = track()
    places = np.concatenate([np.arange(20), np.arange(25, 45)])
    points[20:, 48:] += 30  # between the two runs anything may have happened
    assert jitter(points, places) < 0.1
    assert np.isnan(jitter(points, np.arange(40) * 2))
    assert np.isnan(jitter(points[:2], np.arange(2)))


def test_it_is_measured_in_the_faces_own_size():
    points = track(noise=1.0)
    assert jitter(4 * points, np.arange(40)) == pytest.approx(jitter(points, np.arange(40)), rel=1e-4)


@pytest.mark.parametrize(("most", "status"), [(50.0, "ok"), (0.01, "rejected")])
def test_a_track_that_trembles_is_dropped_and_counted(
    sample_clips: dict[str, Path], analyzer: Analyzer, most: float, status: str
):
    config = flat_config(source="x", dataset="y", size=32, max_jitter=most)
    row = clip_rows(sample_clips["single_face.mp4"], Clip("a/v/1", "1.mp4", 1), "val", config, analyzer).row
    assert row["status"] == status
    kept = row["frames_kept"] if status == "ok" else 0
    assert row["dropped_jitter"] + kept == row["frames_read"] - row["dropped_no_face"] - row["dropped_turned"]
    if status == "rejected":
        assert row["reason"].startswith("jitter (") and row["reason"].endswith(" %, --max-jitter is 0.01)")
