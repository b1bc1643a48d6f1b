"""Scores of pairs against NumPy's and SciPy's own, worked out from the columns that were measured."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import hmean
from support.drawn_faces import AU12, YAW, DrawnModel, DrawnPairs, Reader

from icface.evaluation.faces import Measurer
from icface.evaluation.measurements import Columns
from icface.evaluation.motion import second_difference
from icface.evaluation.pairs import EvaluationPair
from icface.evaluation.pixel_scores import pixel_scores
from icface.evaluation.reenact import Conditions, make_report, measure_all
from icface.evaluation.rendering import ModelRenderer

SHARE = 0.8
"""Of each code that the model paints: it undershoots every unit, and turns every pose."""


@pytest.fixture(scope="module")
def measured() -> tuple[Columns, Mapping[str, float | None]]:
    """The columns of 40 pairs of 8 people, and the model's scores."""
    renderer, pairs = ModelRenderer(DrawnModel(np.eye(20) * SHARE)), DrawnPairs(people=8)  # type: ignore[arg-type]
    measurer = Measurer(analyzer=Reader())  # type: ignore[arg-type]
    found, _ = measure_all(renderer, pairs, measurer)  # type: ignore[arg-type]
    # One person's real frames lie 0.3 apart, those of different people 0.6, the model's pictures 0.48.
    found.pairs["noise_floor:identity"] = np.full(40, 0.3)
    found.pairs["model:identity"] = np.full(40, 0.48)
    found.sources["source:embedding"] = np.eye(8, 128) * 0.6 / np.sqrt(2)
    report = make_report(Conditions.of(renderer, pairs, measurer), found)  # type: ignore[arg-type]
    return found.pairs, report.groups["val"].scores["model"]


def test_gain_is_numpys_regression_through_the_origin(measured: tuple[Columns, Mapping[str, float | None]]) -> None:
    pairs, scores = measured
    asked, shown = pairs["asked"] - pairs["own"], pairs["model::found"] - pairs["copy_source::found"]
    for name, columns in (("gain", slice(3, 20)), ("gain_pose", slice(0, 3))):
        x, y = (change[:, columns].astype(np.float64).ravel() for change in (asked, shown))
        assert scores[name] == pytest.approx(np.linalg.lstsq(x[:, None], y)[0][0])
    assert scores["gain"] == pytest.approx(SHARE, abs=0.02)


def test_error_of_a_unit_is_the_mean_absolute_difference(measured: tuple[Columns, Mapping[str, float | None]]) -> None:
    pairs, scores = measured
    assert scores["error.AU12"] == pytest.approx(np.abs(pairs["asked"] - pairs["model::found"])[:, AU12].mean())
    assert scores["error.AU12"] == pytest.approx((1 - SHARE) * pairs["asked"][:, AU12].mean(), abs=0.02)


def test_turned_pairs_are_scipys_rotations_by_their_yaw(measured: tuple[Columns, Mapping[str, float | None]]) -> None:
    pairs, scores = measured
    asked, found = pairs["asked"][:, :3].astype(np.float64), pairs["model::found"][:, :3].astype(np.float64)
    turn = np.degrees(np.abs(asked[:, YAW] - pairs["own"][:, YAW]))
    apart = (Rotation.from_euler("XYZ", asked).inv() * Rotation.from_euler("XYZ", found)).magnitude()
    bins = np.digitize(turn, [10, 20])
    assert set(bins) == {0, 1, 2}
    for index, name in enumerate(("turn_0_10", "turn_10_20", "turn_over_20")):
        there = bins == index
        assert scores[f"geodesic.{name}"] == pytest.approx(np.degrees(apart[there]).mean())
        assert scores[f"pose_error.{name}"] == pytest.approx(np.degrees(np.abs(asked - found)[there]).mean(), rel=1e-5)


def test_the_edit_score_is_scipys_harmonic_mean(measured: tuple[Columns, Mapping[str, float | None]]) -> None:
    scores = measured[1]
    assert scores["identity_score"] == pytest.approx((0.6 - 0.48) / (0.6 - 0.3))
    assert scores["edit_score"] == pytest.approx(hmean([scores["gain"], scores["identity_score"]]))


def test_what_a_zero_edit_changes_is_what_the_model_is_known_to_change(
    measured: tuple[Columns, Mapping[str, float | None]],
) -> None:
    scores = measured[1]
    # The sources' units are coded 0 and stay; their pose is coded 0.5 of 1.4 rad and gets 0.8 of that.
    assert scores["zero_edit_units"] == pytest.approx(0, abs=0.02)
    assert scores["zero_edit_pose"] == pytest.approx(np.degrees(0.5 * (1 - SHARE) * 1.4), abs=0.35)
    assert scores["zero_edit_l1"] > 0


def test_trembling_is_numpys_second_difference() -> None:
    series = np.random.default_rng(0).normal(size=(12, 5))
    assert second_difference(series) == pytest.approx(np.abs(np.diff(series, n=2, axis=0)).mean())
    series[4, 2] = np.nan
    assert second_difference(series) == pytest.approx(np.nanmean(np.abs(np.diff(series, n=2, axis=0))))
    assert np.isnan(second_difference(series[:2]))


def test_eyes_and_mouth_are_compared_where_the_labels_put_them() -> None:
    made = np.zeros((1, 64, 64, 3), np.uint8)
    real = made.copy()
    real[:, :32] = 51  # 0.2 of white in the upper half, where the eyes are
    points = np.full((68, 2), 0.5, np.float32)
    points[36:48] = np.random.default_rng(0).uniform([0.2, 0.2], [0.8, 0.3], (12, 2))
    points[48:68] = np.random.default_rng(1).uniform([0.3, 0.7], [0.7, 0.8], (20, 2))

    def pair(landmarks: np.ndarray) -> EvaluationPair:
        nothing = np.zeros(20, np.float32)
        box = np.array([0.25, 0.25, 0.5, 0.5], np.float32)
        return EvaluationPair(
            **{"key": "", "group": "val", "kind": "self", "source_key": "", "track": "", "box": box},
            **{"source": made[0], "driving": real[0], "attributes": nothing, "source_attributes": nothing},
            landmarks=landmarks,
        )

    scores = pixel_scores(made, real, [pair(points)])
    assert scores["eyes_l1"][0] == pytest.approx(0.2) and scores["mouth_l1"][0] == 0
    assert scores["l1"][0] == scores["face_l1"][0] == pytest.approx(0.1)
    unknown = pixel_scores(made, real, [pair(points * np.nan)])
    assert np.isnan([unknown["eyes_l1"][0], unknown["mouth_l1"][0]]).all() and unknown["l1"][0] == scores["l1"][0]
