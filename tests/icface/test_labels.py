import numpy as np
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES
from icface.labels import balanced_sampling_weights, baseline, distance_from_neutral, neutral_frames, smooth

AU12, AU45, YAW = (ATTRIBUTE_NAMES.index(name) for name in ("AU12", "AU45", "pose_yaw"))


def labels(count, **columns):
    table = np.zeros((count, len(ATTRIBUTE_NAMES)), np.float32)
    for name, values in columns.items():
        table[:, ATTRIBUTE_NAMES.index(name)] = values
    return table


def test_smoothing_is_a_centred_mean_that_skips_nulls():
    rng = np.random.default_rng(0)
    values = rng.normal(size=30).astype(np.float32)
    values[[4, 17]] = np.nan
    smoothed = smooth(np.arange(30), labels(30, AU12=values), 5)[:, AU12]
    expected = pd.Series(values).rolling(5, center=True, min_periods=1).mean().where(~np.isnan(values))
    np.testing.assert_allclose(smoothed, expected, atol=1e-6)


def test_smoothing_leaves_blinks_alone():
    blink = np.zeros(11, np.float32)
    blink[5] = 4
    table = labels(11, AU45=blink, AU12=blink)
    smoothed = smooth(np.arange(11), table, 5)
    np.testing.assert_array_equal(smoothed[:, AU45], blink)
    assert smoothed[5, AU12] < 1


def test_smoothing_does_not_cross_a_gap():
    frames = np.array([0, 1, 2, 50, 51, 52])
    smoothed = smooth(frames, labels(6, AU12=[0, 0, 0, 3, 3, 3]), 5)
    np.testing.assert_allclose(smoothed[:, AU12], [0, 0, 0, 3, 3, 3])


def test_smoothing_counts_kept_frames_when_only_every_fifth_was_kept():
    smoothed = smooth(np.array([0, 5, 10]), labels(3, AU12=[0, 3, 0]), 3)
    np.testing.assert_allclose(smoothed[:, AU12], [1.5, 1, 1.5])


def test_neutral_frames_look_ahead_with_open_eyes():
    table = labels(5, pose_yaw=[0, 0.5, 0, 0.01, 0], AU12=[0.1, 0, 4, 0, 0], AU45=[0, 0, 0, 0, 2])
    assert neutral_frames(table).tolist() == [0, 3]
    assert neutral_frames(table[1:2]).tolist() == []
    assert neutral_frames(table[:0]).tolist() == []


def test_the_nearest_neutral_frames_are_kept():
    table = labels(100, AU12=np.linspace(0, 2.4, 100))
    assert neutral_frames(table).tolist() == list(range(32))


def test_nulls_do_not_count_in_the_distance():
    table = labels(1, AU12=1.25)
    table[0, YAW] = np.nan
    np.testing.assert_allclose(distance_from_neutral(table), [0.5])


def test_each_expression_gets_the_same_share():
    chances = balanced_sampling_weights(labels(10, AU12=[3] * 2 + [0] * 8))
    np.testing.assert_allclose([chances[:2].sum(), chances[2:].sum()], [0.5, 0.5])


def test_a_baseline_is_the_resting_face_of_a_long_track():
    rng = np.random.default_rng(0)
    table = rng.uniform(-0.5, 3, (80, len(ATTRIBUTE_NAMES))).astype(np.float32)
    table[:40, AU45] = np.nan  # measured on 40 frames: too few
    zero = baseline(table)
    pitch = ATTRIBUTE_NAMES.index("pose_pitch")
    assert zero[pitch] == np.median(table[:, pitch])
    assert zero[AU12] == np.percentile(table[:, AU12], 20).astype(np.float32)
    assert zero[YAW] == zero[AU45] == 0
    assert not baseline(table[:49]).any()
