import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from icface.analyzers import create
from icface.analyzers.face import Analyzer
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.evaluation import HEADLINE, METRICS, EvaluationPair, Report, analyse, evaluate
from icface.evaluation.report import base
from icface.evaluation.scores import attribute_scores
from icface.networks.config import ModelConfig
from icface.video.reading import read_frames

SIZE = 64


class Model(nn.Module):
    """What `evaluate` needs of a model."""

    schema = AttributeSchema.default()
    size = SIZE
    config = BundleConfig(model=ModelConfig(size=SIZE), schema=schema)

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.neutraliser = Copy()
        self.generator = generator
        self.own: list[Tensor] = []

    def neutralise(self, image: Tensor, source: Tensor) -> Tensor:
        self.own.append(source)
        return self.neutraliser(image, source)


class Copy(nn.Module):
    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        return image


class Oracle(nn.Module):
    """Answers with the driving frame that has the attributes asked for."""

    def __init__(self, pairs: list[EvaluationPair]) -> None:
        super().__init__()
        self.encoded = torch.from_numpy(Model.schema.encode(np.stack([pair.attributes for pair in pairs]))[0])
        self.frames = torch.from_numpy(np.stack([pair.driving for pair in pairs])).permute(0, 3, 1, 2) / 127.5 - 1

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        return self.frames[torch.cdist(attributes, self.encoded).argmin(dim=1)]


class Listed:
    def __init__(self, pairs: list[EvaluationPair]) -> None:
        self.pairs = pairs
        self.hash = "these pairs"

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[EvaluationPair]:
        return iter(self.pairs)


@pytest.fixture(scope="module")
def analyzer() -> Iterator[Analyzer]:
    made = create("mediapipe")
    yield made
    made.close()


@pytest.fixture(scope="module")
def pairs(sample_clips: dict[str, Path], analyzer: Analyzer) -> list[EvaluationPair]:
    """20 frames asked of the first one of WolfgangLanger_Pexels, 64 px."""
    frames = next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"], every=20, window=21))[1]
    height, width = frames.shape[1:3]
    faces = [faces[0] for faces in analyzer.analyze(frames, range(len(frames)), "clip")]
    boxes = np.stack([face.box for face in faces])
    squares = CropRule(mode="track").squares(boxes, 25, width, height)
    crops = [crop_image(frame, square, SIZE) for frame, square in zip(frames, squares, strict=True)]
    return [
        EvaluationPair(
            key=f"clip@0>clip@{index}",
            group="held_out",
            kind="self",
            source_key="clip@0",
            track="clip",
            source=crops[0],
            driving=crops[index],
            attributes=faces[index].attributes,
            source_attributes=faces[0].attributes,
            box=np.array([*(boxes[index][:2] - squares[index][:2]), *boxes[index][2:]], np.float32) / squares[index][2],
        )
        for index in range(1, len(frames))
    ]


@pytest.fixture(scope="module")
def copying(pairs: list[EvaluationPair], analyzer: Analyzer) -> Report:
    return evaluate(Model(Copy()), Listed(pairs), analyzer)  # type: ignore[arg-type]


def test_a_model_that_copies_scores_as_copy_source(copying: Report) -> None:
    scores = copying.groups["held_out"].scores
    assert scores["model"]["face_l1"] is not None and scores["model"]["face_l1"] > 0.01
    for metric, value in scores["copy_source"].items():
        assert scores["model"][metric] == value, metric


def test_a_model_that_answers_with_the_real_frame_scores_as_the_noise_floor(
    pairs: list[EvaluationPair], analyzer: Analyzer
) -> None:
    report = evaluate(Model(Oracle(pairs)), Listed(pairs), analyzer)  # type: ignore[arg-type]
    scores = report.groups["held_out"].scores
    for metric, value in scores["noise_floor"].items():
        assert scores["model"][metric] == value, metric
    assert scores["model"]["face_l1"] == scores["model"]["l1"] == 0
    assert scores["model"]["ssim"] == pytest.approx(1)
    assert scores["model"]["sharpness"] == pytest.approx(1)
    assert scores["model"]["r.yaw"] is not None and scores["model"]["r.yaw"] > 0.9


def test_pixels_are_those_of_other_implementations(copying: Report, pairs: list[EvaluationPair]) -> None:
    scores = copying.groups["held_out"].scores["model"]
    differences = [np.abs(pair.source / 255 - pair.driving / 255).mean() for pair in pairs]
    assert scores["l1"] == pytest.approx(np.mean(differences))
    similar = [
        structural_similarity(
            pair.source,
            pair.driving,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
        )
        for pair in pairs
    ]
    assert scores["ssim"] == pytest.approx(np.mean(similar))
    assert scores["face_l1"] is not None and scores["l1"] is not None and scores["face_l1"] != scores["l1"]


def test_identity_is_the_distance_from_the_source(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    def embedder(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert landmarks.shape == (68, 2) and 0 < landmarks.mean() < 1
        return picture.mean(axis=(0, 1)).astype(np.float64)

    report = evaluate(Model(Copy()), Listed(pairs), analyzer, embedder=embedder)
    scores = report.groups["held_out"].scores
    distances = [np.linalg.norm(pair.driving.mean(axis=(0, 1)) - pair.source.mean(axis=(0, 1))) for pair in pairs]
    assert scores["noise_floor"]["identity"] == pytest.approx(np.mean(distances), rel=1e-6)
    assert scores["copy_source"]["identity"] == 0
    assert scores["model"]["identity"] == pytest.approx(0, abs=0.5)  # the way through the network rounds


def test_the_noise_floors_correlations_are_scipys(
    copying: Report, pairs: list[EvaluationPair], analyzer: Analyzer
) -> None:
    again = analyse(analyzer, np.stack([pair.driving for pair in pairs]))
    asked = np.stack([pair.attributes for pair in pairs])
    floor = copying.groups["held_out"].scores["noise_floor"]
    for name in ("pose_yaw", "AU25"):
        index = ATTRIBUTE_NAMES.index(name)
        expected = pearsonr(asked[:, index], again[:, index]).statistic
        assert floor[f"r.{name.removeprefix('pose_')}"] == pytest.approx(expected)
    expected = np.degrees(np.abs(asked[:, 1] - again[:, 1])).mean()
    assert floor["pose_error.yaw"] == pytest.approx(expected, rel=1e-5)
    assert floor["detected"] == 1


def test_what_cannot_be_said_is_none(copying: Report) -> None:
    scores = copying.groups["held_out"].scores["model"]
    assert scores["r.yaw"] is None  # the same source again and again does not vary
    assert scores["r.AU14"] is None and scores["error.AU14"] is None  # nobody measures it
    assert copying.groups["held_out"].correlated["AU14"] == 0


def test_a_report_survives_json(copying: Report) -> None:
    text = json.dumps(copying.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == copying
    with pytest.raises(IcfaceError, match="cannot be read"):
        Report.from_json({"groups": {}})


def test_the_table_and_the_flat_metrics_say_the_same(copying: Report) -> None:
    rows = copying.rows()
    assert {len(row) for row in rows} == {5}
    face = next(row for row in rows if row[1] == "face_l1")
    assert face[0] == "held_out (20)"
    assert face[2] == f"{copying.metrics()['held_out/face_l1']:.3f}"
    assert {base(row[1]) for row in rows[1:]} <= METRICS.keys()
    short = copying.rows(HEADLINE)
    assert set(short) < set(rows)
    assert {row[1] for row in short[1:]} <= set(HEADLINE)


def test_other_pairs_another_analyzer_or_size_cannot_be_compared(copying: Report) -> None:
    others = [
        replace(copying, pairs_hash="others"),
        replace(copying, analyzer="another"),
        replace(copying, size=128),
        replace(copying, protocol="0"),
    ]
    assert len({report.comparable for report in [copying, *others]}) == 5
    assert replace(copying, clamped={"AU12": 3}).comparable == copying.comparable


def test_groups_stand_apart_and_cross_compares_no_pixels(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    crossed = [replace(pair, group="cross", kind="cross", track="other") for pair in pairs[:6]]
    seen: list[tuple[int, int]] = []
    report = evaluate(
        Model(Copy()),  # type: ignore[arg-type]
        Listed([*pairs[:12], *crossed]),
        analyzer,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert {name: group.pairs for name, group in report.groups.items()} == {"held_out": 12, "cross": 6}
    cross = report.groups["cross"].scores["model"]
    assert cross["face_l1"] is cross["ssim"] is cross["sharpness"] is None
    assert cross["pose_error"] is not None
    assert seen == [(16, 18), (18, 18)]


def test_the_neutraliser_is_told_the_sources_own_attributes(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    model = Model(Copy())
    evaluate(model, Listed(pairs[:2]), analyzer)  # type: ignore[arg-type]
    expected, _ = Model.schema.encode(pairs[0].source_attributes[None])
    assert len(model.own) == 1
    np.testing.assert_array_equal(model.own[0].numpy(), expected)


def test_a_picture_without_a_face_is_counted_and_measured_as_nothing(
    pairs: list[EvaluationPair], analyzer: Analyzer
) -> None:
    class Grey(nn.Module):
        def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
            return torch.zeros_like(image)

    scores = evaluate(Model(Grey()), Listed(pairs[:3]), analyzer).groups["held_out"].scores["model"]  # type: ignore[arg-type]
    assert scores["detected"] == 0
    assert scores["pose_error"] is None
    assert scores["sharpness"] == 0


def test_values_out_of_range_are_counted(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    turned = pairs[0].attributes.copy()
    turned[ATTRIBUTE_NAMES.index("pose_yaw")] = 1.0
    report = evaluate(Model(Copy()), Listed([replace(pairs[0], attributes=turned)]), analyzer)  # type: ignore[arg-type]
    assert report.clamped == {"pose_yaw": 1}


def test_no_pairs_are_refused(analyzer: Analyzer) -> None:
    with pytest.raises(IcfaceError, match="nothing to evaluate"):
        evaluate(Model(Copy()), Listed([]), analyzer)  # type: ignore[arg-type]


def test_a_model_of_another_schema_is_refused(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    model = Model(Copy())
    first = model.schema.attributes[0]
    model.schema = AttributeSchema((replace(first, name="gaze"), *model.schema.attributes[1:]))
    with pytest.raises(IcfaceError, match="steered by gaze"):
        evaluate(model, Listed(pairs), analyzer)  # type: ignore[arg-type]


def test_within_leaves_out_what_differs_between_tracks() -> None:
    generator = np.random.default_rng(0)
    tracks = [name for name in "abc" for _ in range(30)]
    offset = np.repeat(generator.normal(0, 2, (3, 20)), 30, axis=0)
    asked = (offset + generator.normal(0, 0.3, (90, 20))).astype(np.float32)
    found = (offset + generator.normal(0, 0.3, (90, 20))).astype(np.float32)
    scores, counts = attribute_scores(asked, found, tracks, AttributeSchema.default())
    assert scores["r.AU12"] is not None and scores["within.AU12"] is not None
    assert scores["r.AU12"] > 0.8
    assert abs(scores["within.AU12"]) < 0.3
    assert counts["AU12"] == 90


def test_a_persons_own_zero_is_taken_off_what_is_asked_and_added_to_what_is_expected() -> None:
    zeros = np.zeros(20, np.float32)
    pair = EvaluationPair(
        key="a>b",
        group="cross",
        kind="cross",
        source_key="a",
        track="b",
        source=np.zeros((8, 8, 3), np.uint8),
        driving=np.zeros((8, 8, 3), np.uint8),
        attributes=zeros + 2,
        source_attributes=zeros + 1,
        box=np.array([0, 0, 1, 1], np.float32),
        driving_baseline=zeros + 0.5,
        source_baseline=zeros + 0.75,
    )
    assert (pair.asked(False) == 2).all() and (pair.expected(False) == 2).all()
    assert (pair.asked(True) == 1.5).all() and (pair.expected(True) == 2.25).all()
    assert (pair.own(False) == 1).all() and (pair.own(True) == 0.25).all()
