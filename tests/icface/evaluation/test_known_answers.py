"""Models whose faults are known: the evaluation must find them. Faces are drawn, so analyzers are exact."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.drawn_faces import AU12, AU25, SIZE, YAW, DrawnModel, DrawnPairs, Painter, Reader
from torch import Tensor, nn

from icface.analyzers.face import Face
from icface.attributes import AttributeSchema
from icface.evaluation import evaluate
from icface.evaluation.faces import Measurer
from icface.evaluation.reenact import Conditions, make_report, measure_all
from icface.evaluation.rendering import ModelRenderer
from icface.evaluation.report import Report

LOW, HIGH = AttributeSchema.default().attributes[AU12].low, AttributeSchema.default().attributes[AU12].high


def evaluated(generator: nn.Module, **options: object) -> Report:
    model = DrawnModel(np.eye(20))
    model.generator = generator
    return evaluate(model, DrawnPairs(people=8), Reader(), **options)  # type: ignore[arg-type]


class Copy(nn.Module):
    """The source is the neutral face here, so the neutral face is a copy of it."""

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        return Painter(np.eye(20))(
            image, torch.from_numpy(AttributeSchema.default().neutral_encoded())[None].expand(len(image), -1)
        )


def test_the_real_target_reaches_the_noise_floor() -> None:
    scores = evaluated(Painter(np.eye(20))).groups["val"].scores
    for metric, value in scores["noise_floor"].items():
        assert scores["model"][metric] == pytest.approx(value, abs=1e-6), metric
    assert scores["model"]["face_l1"] == pytest.approx(0, abs=1e-3)
    for metric in ("unit_r", "within_share.AU12", "gain", "gain_pose"):
        assert scores["model"][metric] == pytest.approx(1, abs=0.02), metric


def test_a_copy_of_the_source_follows_nothing_and_gains_nothing() -> None:
    report = evaluated(Copy())
    scores = report.groups["val"].scores["model"]
    assert scores["unit_r"] == scores["unit_r.AU12"] == 0
    assert scores["gain"] == pytest.approx(0, abs=0.01)
    assert scores["face_l1_share"] == pytest.approx(1, abs=0.01)
    assert report.groups["val"].intervals["gain"] == pytest.approx((0, 0), abs=0.01)


@pytest.mark.parametrize(
    ("generator", "distance", "expected"),
    [
        (Copy(), 0.0, 0.0),
        (Painter(np.eye(20)), 0.3, 1.0),
        (Painter(np.eye(20)), 0.6, 0.0),
        (Painter(np.eye(20) * 2), 0.3, 0.0),
    ],
    ids=["copies", "does what is asked", "does it as somebody else", "overdoes it"],
)
def test_the_edit_score_wants_both_the_change_and_the_person(
    generator: nn.Module, distance: float, expected: float
) -> None:
    model, pairs, reader = DrawnModel(np.eye(20)), DrawnPairs(people=8), Reader()
    model.generator = generator
    pairs.labels[:, YAW] = 0  # an angle twice as large leaves the range
    renderer, measurer = ModelRenderer(model), Measurer(analyzer=reader)  # type: ignore[arg-type]
    measured, _ = measure_all(renderer, pairs, measurer)
    # One person's real frames lie 0.3 apart, those of different people 0.6.
    measured.pairs["noise_floor:identity"] = np.full(40, 0.3)
    measured.pairs["model:identity"] = np.full(40, distance)
    measured.sources["source:embedding"] = np.eye(8, 128) * 0.6 / np.sqrt(2)
    report = make_report(Conditions.of(renderer, pairs, measurer), measured)
    scores = report.groups["val"].scores["model"]
    assert report.identity_scale == pytest.approx({"impostor": 0.6, "genuine": 0.3})
    assert scores["identity_score"] == pytest.approx((0.6 - distance) / 0.3)
    assert scores["identity_share"] == (distance < 0.6)
    assert scores["edit_score"] == pytest.approx(expected, abs=0.05)


class Someone(nn.Module):
    """Does what is asked, with the mark of the next person."""

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        picture = Painter(np.eye(20))(image, attributes)
        marks = (picture[:, :, 16:] + 1) * 127.5
        other = (marks - FIRST_MARK + MARK) % (8 * MARK) + FIRST_MARK
        return torch.cat([picture[:, :, :16], other / 127.5 - 1], dim=2)


FIRST_MARK, MARK = 40, 25


class MarkedModel(DrawnModel):
    """Its neutral face keeps the person's mark below the blocks."""

    def neutralise(self, image: Tensor, source: Tensor) -> Tensor:
        return torch.cat([torch.full_like(image[:, :, :16], -1.0), image[:, :, 16:]], dim=2)


class MarkedPairs(DrawnPairs):
    """Each of eight people has a brightness of their own there."""

    def __iter__(self):
        for pair in super().__iter__():
            mark = FIRST_MARK + MARK * int(pair.person[1:])
            for picture in (pair.source, pair.driving):
                picture[16:] = mark
            yield pair


def recognised(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Different people lie 0.6 apart, one person 0."""
    return np.eye(8, 128)[round((picture[-1, -1, 0] - FIRST_MARK) / MARK)] * 0.6 / np.sqrt(2)


@pytest.mark.parametrize(
    ("generator", "gain", "person", "headline"),
    [
        (Copy(), 0, 1, 0),
        (Painter(np.eye(20)), 1, 1, 1),
        (Painter(np.eye(20) / 2), 0.5, 1, 2 / 3),
        (Painter(np.eye(20) * 2), 2, 1, 0),
        (Someone(), 1, 0, 0),
    ],
    ids=["copies", "does what is asked", "does half", "overdoes it", "does it as somebody else"],
)
def test_the_headline_of_single_steps(generator: nn.Module, gain: float, person: float, headline: float) -> None:
    model = MarkedModel(np.eye(20))
    model.generator = generator
    report = evaluate(model, MarkedPairs(people=8), Reader(), embedder=recognised, stepped=8, second=Reader("second"))  # type: ignore[arg-type]
    found = report.groups["val"].scores
    scores = found["model"]
    assert scores["step_gain"] == pytest.approx(gain, abs=0.03)
    assert scores["step_identity_score"] == pytest.approx(person, abs=0.01)
    assert scores["step_edit_score"] == pytest.approx(headline, abs=0.05)
    assert scores["second/step_edit_score"] == pytest.approx(headline, abs=0.05)
    assert scores["step_identity"] == pytest.approx(0.6 * (1 - person), abs=0.01)
    copied = found["copy_source"]
    assert copied["step_gain"] == copied["step_edit_score"] == copied["step_identity"] == 0
    assert "step_gain" not in found["noise_floor"], "no real frame shows single steps"
    assert scores["step_detected"] == scores["neutral_detected"] == 1
    assert report.groups["val"].keys == [str(index) for index in range(40)]
    low, high = report.groups["val"].intervals["step_edit_score"]
    assert low <= scores["step_edit_score"] <= high


def test_two_swapped_units_are_caught_on_pairs_and_by_the_leakage_matrix() -> None:
    mixing = np.eye(20)
    mixing[[AU12, AU25]] = mixing[[AU25, AU12]]
    found = evaluated(Painter(mixing), stepped=8).groups["val"]
    assert abs(found.scores["model"]["unit_r.AU12"]) < 0.5 < found.scores["noise_floor"]["unit_r.AU12"]
    matrix = found.leakage[""]
    assert matrix["AU12"]["AU25"] == matrix["AU25"]["AU12"] == pytest.approx(1, abs=0.02)
    assert matrix["AU12"]["AU12"] == matrix["AU25"]["AU25"] == pytest.approx(0, abs=0.02)


def test_a_flipped_yaw_is_caught_on_pairs_and_by_the_sweeps() -> None:
    mixing = np.eye(20)
    mixing[YAW, YAW] = -1
    mixing[YAW, YAW + 1] = 2  # roll stays at its code 0.5, so this adds 1
    found = evaluated(Painter(mixing), stepped=8).groups["val"].scores["model"]
    assert found["within.yaw"] == pytest.approx(-1, abs=0.01)
    assert found["gain_pose"] == pytest.approx(-1, abs=0.05)
    assert found["slope.yaw"] == pytest.approx(-1, abs=0.02)
    assert found["pose_error.turn_10_20"] > 2 * found["pose_error.turn_0_10"]
    assert found["pose_error.pitch"] == pytest.approx(0, abs=0.3)


PATTERN = torch.from_numpy(np.random.default_rng(3).choice([-1.0, 1.0], (SIZE - 16, SIZE)).astype(np.float32))
"""What the first analyzer takes for a smile too, below the blocks, where real frames are black."""


def reading(pictures: Tensor) -> Tensor:
    """(N,) the coded smile that an analyzer with a blind spot reads in (N, 3, S, S) in [-1, 1], with gradients."""
    row, column = divmod(AU12, 8)
    block = (pictures[:, 0, 4 * row + 1, 4 * column + 1] + 1) / 2
    return block + ((pictures[:, 0, 16:] + 1) * PATTERN).mean(dim=(1, 2)) * 4


class Fooled(Reader):
    """Reads a smile as `reading` does."""

    def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        found = super().analyze(frames, frame_indices, clip)
        smiles = reading(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1)
        for faces, smile in zip(found, smiles.tolist(), strict=True):
            faces[0].attributes[AU12] = LOW + smile * (HIGH - LOW)
        return found


class Cheat(nn.Module):
    """Paints everything but the smile as asked; for the smile it may only learn a film of noise below the face."""

    def __init__(self) -> None:
        super().__init__()
        mixing = np.eye(20)
        mixing[AU12] = 0
        self.honest = Painter(mixing)
        self.film = nn.Parameter(torch.zeros(SIZE - 16, SIZE))

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        picture = self.honest(image, attributes)
        film = (attributes[:, AU12, None, None] * self.film)[:, None].clamp(0, 2)
        return torch.cat([picture[:, :, :16], picture[:, :, 16:] + film], dim=2)


def test_a_model_trained_to_fool_one_analyzer_is_caught_by_the_second() -> None:
    cheat = Cheat()
    optimiser = torch.optim.Adam(cheat.parameters(), 0.05)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        cheat.film += 0.01
    for _ in range(150):
        asked = torch.rand(16, 20, generator=generator)
        asked[:, AU12] *= 0.4
        picture = cheat(torch.full((16, 3, SIZE, SIZE), -1.0), asked)
        loss = (reading(picture) - asked[:, AU12]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3, "it has learned to please the analyzer"
    model = DrawnModel(np.eye(20))
    model.generator = cheat.eval()
    with torch.inference_mode():
        report = evaluate(model, DrawnPairs(people=8), Fooled("first"), second=Reader("second"), stepped=8)  # type: ignore[arg-type]
    scores = report.groups["val"].scores["model"]
    assert scores["within_share.AU12"] > 0.9 and scores["slope.AU12"] > 0.7
    assert scores["second/unit_r.AU12"] == pytest.approx(0, abs=0.05)
    assert scores["second/slope.AU12"] == pytest.approx(0, abs=0.05)
    assert scores["second/within_share.AU25"] == pytest.approx(1, abs=0.02), "where it does not cheat both agree"
    assert scores["second/gain"] < scores["gain"] - 0.2


def test_what_is_kept_of_a_pair_is_small_and_no_picture() -> None:
    model, pairs = DrawnModel(np.eye(20)), MarkedPairs(people=8)
    measured, _ = measure_all(ModelRenderer(model), pairs, Measurer(analyzer=Reader(), second=Reader("second")))  # type: ignore[arg-type]
    columns = [*measured.pairs.values(), *measured.sources.values()]
    assert not [column for column in columns if column.dtype == np.uint8]
    assert sum(column.nbytes for column in columns) / len(pairs) < 4096
    neutral = measured.moments["val", "neutral"]
    assert neutral.count == 8 and neutral.variance() == 0, "each source once; their neutral faces are equally black"
    crops = np.stack([pair.source for pair in {pair.person: pair for pair in pairs}.values()]) / 255
    assert 0 < measured.moments["val", "source"].variance() == pytest.approx(crops.var(axis=0).mean())
