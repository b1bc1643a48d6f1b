import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from icface.analyzers.face import Analyzer
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.evaluation import HEADLINE, METRICS, EvaluationPair, Report, analyse, evaluate
from icface.evaluation.attribute_scores import attribute_scores
from icface.evaluation.pairs import FrameSequence, PairSource
from icface.evaluation.reenact import is_same_analyzer
from icface.evaluation.report import base
from icface.metrics.pictures import HIGHEST_PSNR
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

    def sources(self) -> list[PairSource]:
        known = {(pair.group, pair.source_key): pair.kind for pair in self.pairs}
        return [PairSource(group=group, kind=kind, key=key) for (group, key), kind in known.items()]

    def attributes(self) -> np.ndarray:
        return np.stack([pair.attributes for pair in self.pairs])

    def sequences(self) -> Iterator[FrameSequence]:
        if len(self.pairs) >= 3:
            yield FrameSequence(group=self.pairs[0].group, pairs=tuple(self.pairs), smoothed=tuple(self.pairs))


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
            landmarks=((faces[index].landmarks - squares[index][:2]) / squares[index][2]).astype(np.float32),
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
        assert scores["model"][metric] == pytest.approx(value), metric
    assert scores["model"]["gain"] == pytest.approx(0, abs=0.02)
    assert scores["model"]["gain_pose"] == pytest.approx(0, abs=0.02)
    assert scores["model"]["unit_r"] == scores["model"]["unit_r.AU25"] == 0, "what never changes follows nothing"
    assert scores["model"]["jitter.pixels"] == scores["model"]["jitter.units"] == 0
    assert scores["model"]["zero_edit_l1"] == pytest.approx(0, abs=1e-3)


def test_a_model_that_answers_with_the_real_frame_scores_as_the_noise_floor(
    pairs: list[EvaluationPair], analyzer: Analyzer
) -> None:
    report = evaluate(Model(Oracle(pairs)), Listed(pairs), analyzer)  # type: ignore[arg-type]
    scores = report.groups["held_out"].scores
    for metric, value in scores["noise_floor"].items():
        assert scores["model"][metric] == pytest.approx(value), metric
    assert scores["model"]["gain"] == pytest.approx(1, abs=0.2)
    assert scores["model"]["unit_r"] > 0.8
    assert scores["model"]["within_share.AU25"] == pytest.approx(1)
    assert scores["model"]["jitter.pixels"] == pytest.approx(1)
    assert scores["model"]["landmark_distance"] < 5
    assert scores["model"]["psnr"] == HIGHEST_PSNR
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
    assert scores["ssim"] == pytest.approx(np.mean(similar), abs=1e-4)  # float32 against float64
    decibels = [peak_signal_noise_ratio(pair.driving, pair.source, data_range=255) for pair in pairs]
    assert scores["psnr"] == pytest.approx(np.mean(decibels), rel=1e-5)
    assert scores["ms_ssim"] is None, "64 px are too few"
    assert scores["face_l1"] is not None and scores["l1"] is not None and scores["face_l1"] != scores["l1"]


def test_identity_is_the_distance_from_the_source(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    def embedder(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        assert landmarks.shape == (68, 2) and 0 < landmarks.mean() < 1
        return np.resize(picture.mean(axis=(0, 1)), 128) * (np.arange(128) < 3)

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
    assert copying.groups["held_out"].left_out["AU14"] == "not measured"
    assert copying.groups["held_out"].people == 1
    assert copying.groups["held_out"].intervals == {}, "one person says nothing about people"
    assert scores["neutral_variance"] is None, "nor about whether all people get one face"


def test_a_report_survives_json(copying: Report) -> None:
    text = json.dumps(copying.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == copying
    with pytest.raises(IcfaceError, match="cannot be read"):
        Report.from_json({"groups": {}})


def test_the_table_and_the_flat_metrics_say_the_same(copying: Report) -> None:
    rows = copying.rows()
    assert {len(row) for row in rows} == {9}
    face = next(row for row in rows if row[1] == "face_l1")
    assert face[0] == "held_out (20 pairs, 1 person)"
    assert face[2] == "↓"
    assert face[3] == f"{copying.metrics()['held_out/face_l1']:.3f}"
    assert not any(cell.startswith("-0.000") for row in rows for cell in row)
    assert {base(row[1]) for row in rows[1:]} <= METRICS.keys()
    short = copying.rows(HEADLINE)
    assert set(short) < set(rows)
    assert {row[1] for row in short[1:]} <= set(HEADLINE)


def test_scores_by_the_analyzer_that_labelled_the_training_say_so(copying: Report) -> None:
    assert copying.same_analyzer is None, "the model does not say who labelled it"
    assert "held_out/error.AU25" in replace(copying, same_analyzer=False).metrics()
    named = replace(copying, same_analyzer=True).metrics()
    assert "held_out/same_analyzer/error.AU25" in named and "held_out/error.AU25" not in named
    assert "held_out/face_l1" in named, "pixels know no analyzer"
    config = Model.config
    mediapipe = replace(config, analyzer={"name": "mediapipe"})
    assert is_same_analyzer(mediapipe, "mediapipe-torch") is True
    assert is_same_analyzer(mediapipe, "dlib") is False
    taught = replace(config, analyzer={"name": "openface"}, training={"config": {"loss": {"critic": 1.0}}})
    assert is_same_analyzer(taught, "mediapipe") is True, "the critic's networks are MediaPipe's"


def test_evaluations_of_version_0_1_stay_readable(copying: Report) -> None:
    values = json.loads(json.dumps(copying.to_json()))
    for name in ("same_analyzer", "identity_scale"):
        del values[name]
    for group in values["groups"].values():
        for name in ("people", "intervals", "left_out", "response", "curves"):
            del group[name]
        for name in ("retrieval", "mean_attributes"):
            del group["scores"][name]
    old = Report.from_json(values)
    assert old.metrics() == copying.metrics()
    assert old.rows()[1][0] == "held_out (20 pairs)"
    assert old.rows()[1][4] == "–"


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
    assert not {"face_l1", "ssim", "sharpness", "landmark_distance"} & cross.keys()
    assert cross["pose_error"] is not None
    assert seen == [(16, 18), (18, 18)]


def test_the_neutraliser_is_told_the_sources_own_attributes(pairs: list[EvaluationPair], analyzer: Analyzer) -> None:
    model = Model(Copy())
    evaluate(model, Listed(pairs[:2]), analyzer)  # type: ignore[arg-type]
    expected, _ = Model.schema.encode(pairs[0].source_attributes[None])
    assert model.own
    for own in model.own:
        np.testing.assert_array_equal(own[:1].numpy(), expected)


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
    people = np.repeat(np.arange(3), 30)
    scores = attribute_scores(asked, found, tracks, people, 3, AttributeSchema.default())
    assert scores["r.AU12"].value() > 0.8
    assert abs(scores["within.AU12"].value()) < 0.3
    index = ATTRIBUTE_NAMES.index("AU12")
    assert scores["r.AU12"].value() == pytest.approx(pearsonr(asked[:, index], found[:, index]).statistic)
    own = [pearsonr(asked[people == p, index], found[people == p, index]).statistic for p in range(3)]
    deviations = [asked[people == p, index].std() for p in range(3)]
    expected = np.mean([r for r, deviation in zip(own, deviations, strict=True) if deviation >= 0.3])
    assert scores["unit_r.AU12"].value() == pytest.approx(expected)


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
