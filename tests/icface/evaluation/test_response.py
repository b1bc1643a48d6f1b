"""Response and leakage against drawn faces whose analyzer is exact, and against NumPy's own regression."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, linregress
from support.drawn_faces import SIZE, DrawnModel, DrawnPairs, Painter, Reader
from torch import Tensor

from icface.analyzers.face import Face
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, LABEL_NAMES, AttributeSchema
from icface.evaluation import evaluate
from icface.evaluation.faces import Measurer
from icface.evaluation.measuring import looked_at
from icface.evaluation.pairs import PairSource
from icface.evaluation.response import leakage, monotonicity, response_scores, slopes, step_scores
from icface.evaluation.sweeps import STEPS, Sweep, asked_values, chosen_sources, merged, sweeps

AU12, AU25 = ATTRIBUTE_NAMES.index("AU12"), ATTRIBUTE_NAMES.index("AU25")


def swept(mixing: np.ndarray, gain: float = 1.0):
    model, reader = DrawnModel(mixing), Reader(gain=gain)
    neutral = torch.zeros(3, 3, SIZE, SIZE)
    values = asked_values(model.schema, np.zeros((1, 20)))
    return sweeps(model, neutral, values, Measurer(analyzer=reader))  # type: ignore[arg-type]


def test_a_model_that_does_what_it_is_told_has_slope_one_and_leaks_nothing() -> None:
    scores = scores_of(np.eye(20))
    for name in ("AU01", "AU12", "AU45", "yaw", "pitch"):
        assert scores[f"slope.{name}"] == pytest.approx(1, abs=0.02), name
        assert scores[f"response.{name}"] == pytest.approx(1, abs=0.001), name
    assert scores["leak"] == pytest.approx(0, abs=0.01)
    assert scores["leak_pose"] == pytest.approx(0, abs=0.1)
    assert "leak.yaw" not in scores


def test_two_swapped_units_are_caught_by_the_leakage_matrix() -> None:
    mixing = np.eye(20)
    mixing[[AU12, AU25]] = mixing[[AU25, AU12]]
    matrix = leakage(swept(mixing), "")
    assert matrix["AU12"]["AU12"] == pytest.approx(0, abs=0.02)
    assert matrix["AU12"]["AU25"] == pytest.approx(1, abs=0.02)
    assert matrix["AU25"]["AU12"] == pytest.approx(1, abs=0.02)


def test_a_flipped_yaw_sign_is_caught() -> None:
    mixing = np.eye(20)
    yaw = ATTRIBUTE_NAMES.index("pose_yaw")
    mixing[yaw, yaw] = -1
    mixing[yaw, ATTRIBUTE_NAMES.index("pose_roll")] = 2  # roll stays at its code 0.5, so this adds 1
    assert scores_of(mixing)["slope.yaw"] == pytest.approx(-1, abs=0.02)


def test_half_an_expression_that_moves_another_is_a_slope_of_a_half_and_a_leak() -> None:
    mixing = np.eye(20)
    mixing[AU12, AU12] = 0.5
    mixing[AU25, AU12] = 0.32
    scores = scores_of(mixing)
    assert scores["slope.AU12"] == pytest.approx(0.5, abs=0.02)
    assert scores["leak.AU12"] == pytest.approx(0.32 / 16, abs=0.003)


def test_slopes_are_numpys_and_ignore_what_was_not_measured() -> None:
    generator = np.random.default_rng(0)
    asked = np.tile(np.linspace(0, 2, 5), (6, 1))
    found = generator.normal(0, 1, (6, 5, 3)) + asked[..., None] * [0.2, 1, -3] + generator.normal(0, 9, (6, 1, 3))
    found[2, 3:, 1] = np.nan
    found[..., 2] = np.nan
    result = slopes(asked, found)
    for index in (0, 1):
        design, target = [], []
        for source in range(6):  # one constant for each source
            for step in range(5):
                if np.isfinite(found[source, step, index]):
                    design.append([asked[source, step], *(source == other for other in range(6))])
                    target.append(found[source, step, index])
        expected = np.linalg.lstsq(np.array(design, float), np.array(target), rcond=None)[0][0]
        assert result[index] == pytest.approx(expected)
    assert np.isnan(result[2])


def test_what_is_stepped_is_what_was_seen_else_what_is_asked() -> None:
    schema = DrawnModel(np.eye(20)).schema
    values = asked_values(schema, np.zeros((1, 20)))
    np.testing.assert_allclose(values["AU12"], [0.5, 1, 1.5, 2])
    np.testing.assert_allclose(values["pose_yaw"], np.linspace(-0.4, 0.4, STEPS), rtol=1e-6)
    asked = np.full((200, 20), np.nan, np.float32)
    asked[:, AU12] = np.linspace(0, 4, 200)
    asked[:, AU25] = 0.05
    without = AttributeSchema.default()
    assert set(asked_values(without, asked)) == {"AU12"}
    assert asked_values(without, asked)["AU12"][-1] == pytest.approx(np.percentile(asked[:, AU12], 99))
    untrained = AttributeSchema(tuple(replace(a, trained=False) for a in schema.attributes))
    assert asked_values(untrained, asked) == {}


def scores_of(mixing: np.ndarray) -> dict[str, float | None]:
    return {name: found.value() for name, found in response_scores(swept(mixing), "").items()}


def test_sources_are_spread_evenly() -> None:
    sources = [PairSource(group="val", kind="self", key=f"{index:03}") for index in range(100)]
    chosen = sorted(int(key) for _, key in chosen_sources(sources, 4))
    assert chosen == [0, 33, 66, 99]
    crossed = [PairSource(group="cross", kind="cross", key="a")]
    assert chosen_sources([*sources[:2], *crossed], 4) == {("val", "000"), ("val", "001")}
    assert chosen_sources(sources, 0) == set()


def test_a_curve_that_bends_has_a_lower_r2_and_one_that_turns_is_less_monotonic() -> None:
    asked = np.array([0.0, 1, 2, 3, 4])
    assert monotonicity(asked, asked**3) == pytest.approx(1)
    assert monotonicity(asked, -asked) == pytest.approx(-1)
    assert monotonicity(asked, asked * 0) == 0
    assert np.isnan(monotonicity(asked, np.where(asked < 2, asked, np.nan)))
    ranks = kendalltau(asked, [0, 2, 1, 3, 4]).statistic  # another rank correlation: it must agree on the sign
    assert 0 < ranks < monotonicity(asked, [0, 2, 1, 3, 4]) < 1
    found = np.full((2, 5, 20), np.nan)
    found[:, :, AU12] = [asked * 0.3 + 1, asked**2]
    one = Sweep(name="AU12", asked=np.stack([asked, asked]), found={"": found}, apart=np.full((2, 5), np.nan))
    scores = response_scores([one], "")
    expected = np.mean([linregress(asked, row).rvalue ** 2 for row in found[:, :, AU12]])
    assert scores["r2.AU12"].value() == pytest.approx(expected)


def test_sweeps_of_several_sources_are_one_in_the_order_of_attributes() -> None:
    first, second = swept(np.eye(20)), swept(np.eye(20))
    together = merged([*first, *second])
    assert [sweep.name for sweep in together] == [sweep.name for sweep in first]
    assert together[0].asked.shape == (6, STEPS + 1)
    assert leakage(together, "") == leakage(first, "")


def test_a_second_analyzer_scores_beside_the_first_and_its_disagreement_is_told() -> None:
    class Blind(Reader):
        """Sees a smile nowhere but on the real frames, as an analyzer that a training did not fool."""

        def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
            found = super().analyze(frames, frame_indices, clip)
            for number, (faces, frame) in enumerate(zip(found, frames, strict=True)):
                if frame[-1, -1, 0] == 255:  # the mark that the cheating model leaves
                    faces[0].attributes[AU12] = (number * 7 % 5) / 5
            return found

    class Marked(Painter):
        def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
            picture = super().forward(image, attributes)
            picture[:, :, -1, -1] = 1
            return picture

    model = DrawnModel(np.eye(20))
    model.generator = Marked(np.eye(20))
    report = evaluate(model, DrawnPairs(), Reader(), second=Blind("other"), stepped=1)  # type: ignore[arg-type]
    scores = report.groups["val"].scores
    assert scores["model"]["within_share.AU12"] == pytest.approx(1, abs=0.02)
    assert scores["noise_floor"]["other/within.AU12"] == pytest.approx(1, abs=0.02)
    assert scores["model"]["other/within_share.AU25"] == pytest.approx(1, abs=0.02)
    (sentence,) = report.disagreements()
    assert "AU12" in sentence and "by reader" in sentence and "by other" in sentence
    assert scores["model"]["slope.AU12"] == pytest.approx(1, abs=0.02)
    assert abs(scores["model"]["other/slope.AU12"]) < 0.5
    assert set(report.groups["val"].leakage) == {"", "other"}
    assert report.second == "other 1"
    assert "val/other/within_share.AU25" in report.metrics()


def test_shares_are_quotients() -> None:
    mixing = np.eye(20)
    scores = evaluate(DrawnModel(mixing), DrawnPairs(), Reader()).groups["val"].scores  # type: ignore[arg-type]
    expected = scores["model"]["face_l1"] / scores["copy_source"]["face_l1"]
    assert scores["model"]["face_l1_share"] == pytest.approx(expected)
    assert "slope.AU12" not in scores["model"]
    assert not any("/" in name for name in scores["model"])


def test_of_one_side_the_other_side_is_a_leak_and_the_whole_unit_is_not() -> None:
    asked = np.tile(np.float32([0, 1, 2]), (2, 1))
    found = np.zeros((2, 3, len(LABEL_NAMES)), np.float32)
    for name, share in (("AU12L", 1.0), ("AU12R", 0.4), ("AU12", 0.7)):
        found[..., LABEL_NAMES.index(name)] = asked * share
    sweep = Sweep(name="AU12L", asked=asked, found={"": found}, apart=np.full((2, 3), np.nan))
    scores = {name: estimate.value() for name, estimate in response_scores([sweep], "").items()}
    assert scores["slope.AU12L"] == pytest.approx(1.0)
    others = len(ACTION_UNIT_NAMES) - 1 + 1  # all units but AU12, and the right side
    assert scores["leak.AU12L"] == pytest.approx(0.4 / others)
    assert leakage([sweep], "")["AU12L"]["AU12R"] == pytest.approx(0.4)


def test_the_gain_of_steps_is_one_regression_over_all_units() -> None:
    generator = np.random.default_rng(4)
    each, design, target = [], [], []
    for number, (name, slope) in enumerate((("AU12", 0.5), ("AU25", 1.5))):
        asked = np.tile(np.linspace(0, 1 + number, 5), (3, 1))
        found = generator.normal(0, 1, (3, 5, 20))
        found[..., ATTRIBUTE_NAMES.index(name)] += asked * slope
        each.append(Sweep(name=name, asked=asked, found={"": found}, apart=np.full((3, 5), np.nan)))
        for source in range(3):  # one constant for each curve
            for step in range(5):
                constants = [number == a and source == b for a in range(2) for b in range(3)]
                design.append([asked[source, step], *constants])
                target.append(found[source, step, ATTRIBUTE_NAMES.index(name)])
    scores = step_scores(each, "")
    expected = np.linalg.lstsq(np.array(design, float), np.array(target), rcond=None)[0][0]
    assert scores["step_gain"].value() == pytest.approx(expected)
    assert set(scores) == {"step_gain", "step_detected"}, "no pose was stepped, and nobody looked who it is"
    each[0].found[""][:, 1] = np.nan  # no face in 3 of the 30 pictures
    assert step_scores(each, "")["step_detected"].value() == pytest.approx(0.9)
    assert step_scores(each, "", copied=True)["step_gain"].value() == 0


def test_face_recognition_looks_at_other_steps_of_each_source() -> None:
    names = [f"a{number}" for number in range(20)]
    some = Measurer(analyzer=Reader(), embedder=lambda picture, points: np.zeros(128), embed_every=12)
    chosen = {key: looked_at(names, key, some) for key in map(str, range(200))}
    assert {len(each) for each in chosen.values()} == {1, 2}
    assert set().union(*chosen.values()) == set(names)
    assert looked_at(names, "7", some) == chosen["7"]
    assert looked_at(names, "7", replace(some, embed_every=1)) == names
    assert looked_at(names, "7", replace(some, embedder=None)) == []
