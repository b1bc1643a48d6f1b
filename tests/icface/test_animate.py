from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from icface.analyzers.face import Analyzer
from icface.animate import Animator, to_pictures, to_tensor
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface, save_bundle
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.networks.config import ModelConfig
from icface.video.reading import read_frames

SIZE = 32


@pytest.fixture(scope="module")
def portrait(sample_clips: dict[str, Path]) -> np.ndarray:
    return next(read_frames(sample_clips["single_face.mp4"], window=1))[1][0]


@pytest.fixture
def model() -> ICface:
    torch.manual_seed(0)
    made = ICface(
        BundleConfig(
            model=ModelConfig(size=SIZE, width=8, blocks=1, discriminator_width=8),
            schema=AttributeSchema.default(),
            crop_rule=CropRule(scale=1.8).to_json(),
            analyzer={"name": "mediapipe", "fingerprint": ""},
        )
    )
    # A generator begins as the identity; weights that are all drawn make attributes show.
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1)
    return made.eval()


def one_by_one(model: ICface, crop: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The plain way: neutraliser and generator for each row, from the definitions alone."""
    image = torch.from_numpy(crop.transpose(2, 0, 1)[None].astype(np.float32)) / 127.5 - 1
    neutral_encoded = torch.from_numpy(model.schema.neutral_encoded())[None]
    frames = []
    with torch.no_grad():
        for row in raw:
            encoded = torch.from_numpy(model.schema.encode(row[None])[0])
            made = model.generator(model.neutraliser(image, neutral_encoded), encoded)[0]
            frames.append(((made.numpy().transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def test_frames_are_those_of_the_plain_way(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    raw = np.column_stack([generator.uniform(-0.6, 0.6, (5, 3)), generator.uniform(0, 5, (5, 17))]).astype(np.float32)
    animator = Animator.from_bundle(model, analyzer, batch=2)
    frames = np.stack(list(animator.animate(portrait, pd.DataFrame(raw, columns=list(ATTRIBUTE_NAMES)))))
    face = analyzer.analyze(portrait[None], [0], "")[0][0]
    height, width = portrait.shape[:2]
    square = CropRule(scale=1.8).squares(face.box[None], 25, width, height)[0]
    expected = one_by_one(model, crop_image(portrait, square, SIZE), raw)
    assert frames.shape == (5, SIZE, SIZE, 3) and frames.dtype == np.uint8
    assert np.abs(frames.astype(int) - expected).max() <= 1  # batches round sums in another order
    assert np.abs(frames[0].astype(int) - frames[1]).max() > 5
    assert animator.clamped == {}


def test_the_neutraliser_runs_once_a_source(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    calls = []
    model.neutraliser.register_forward_hook(lambda *_: calls.append(1))
    animator = Animator.from_bundle(model, analyzer, batch=2)
    source = animator.prepare(portrait)
    list(animator.animate(source, pd.DataFrame({"AU12": np.linspace(0, 5, 7)})))
    animator.neutral(source)
    assert len(calls) == 1


def test_missing_columns_keep_the_sources_own_values(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    animator = Animator.from_bundle(model, analyzer)
    source = animator.prepare(portrait)
    own = pd.DataFrame([source.attributes])
    smiling = own.assign(AU12=5.0)
    np.testing.assert_array_equal(
        next(animator.animate(source, pd.DataFrame({"AU12": [5.0]}))), next(animator.animate(source, smiling))
    )
    np.testing.assert_array_equal(
        next(animator.animate(source, pd.DataFrame({"frame": [0]}))), next(animator.animate(source, own))
    )
    assert (next(animator.animate(source, own)) != next(animator.animate(source, smiling))).any()


def test_what_is_not_measured_is_neutral(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    animator = Animator.from_bundle(model, analyzer)
    source = animator.prepare(portrait)
    nothing = pd.DataFrame({name: [np.nan] for name in ATTRIBUTE_NAMES})
    neutral = pd.DataFrame([model.schema.neutral()], columns=list(ATTRIBUTE_NAMES))
    np.testing.assert_array_equal(next(animator.animate(source, nothing)), next(animator.animate(source, neutral)))


def test_values_out_of_range_are_clamped_and_counted_at_the_call(
    model: ICface, analyzer: Analyzer, portrait: np.ndarray
) -> None:
    animator = Animator.from_bundle(model, analyzer)
    source = animator.prepare(portrait)
    frames = animator.animate(source, pd.DataFrame({"AU12": [6.0, 7.0, 5.0], "pose_yaw": [-0.9, 0.0, 0.7]}))
    assert animator.clamped == {"AU12": 2, "pose_yaw": 1}
    first, _, _ = frames
    clamped = next(animator.animate(source, pd.DataFrame({"AU12": [5.0], "pose_yaw": [-0.7]})))
    assert np.abs(first.astype(int) - clamped).max() <= 1  # a batch of 3 and one of 1 round sums in another order


def test_the_neutral_face_is_the_neutralisers(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    animator = Animator.from_bundle(model, analyzer)
    source = animator.prepare(portrait)
    neutral = animator.neutral(portrait)
    assert neutral.shape == (SIZE, SIZE, 3)
    with torch.no_grad():
        made = model.neutraliser(to_tensor(source.crop[None]), torch.from_numpy(model.schema.neutral_encoded())[None])
    np.testing.assert_array_equal(neutral, to_pictures(made)[0])


def test_a_neutraliser_of_changes_is_told_the_portraits_own(
    model: ICface, analyzer: Analyzer, portrait: np.ndarray
) -> None:
    told: list[np.ndarray] = []
    model.neutraliser.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1].numpy()[0]))
    model.config = replace(model.config, model=replace(model.config.model, neutraliser_input="change"))
    source = Animator.from_bundle(model, analyzer).prepare(portrait)
    own, _ = model.schema.encode(np.array([[source.attributes[name] for name in model.schema.names]]))
    np.testing.assert_allclose(told[0], 0.5 + (model.schema.neutral_encoded() - own[0]) / 2, atol=1e-6)
    assert np.abs(told[0] - 0.5).max() > 0.01
    # MediaPipe does not measure these five, and this schema says that they were trained.
    assert source.left_alone == ("AU14", "AU15", "AU17", "AU20", "AU23")
    assert (told[0][[model.schema.index(name) for name in source.left_alone]] == 0.5).all()


def test_a_bundle_folder_does_the_same(model: ICface, analyzer: Analyzer, portrait: np.ndarray, tmp_path: Path) -> None:
    save_bundle(model, tmp_path / "bundle")
    table = pd.DataFrame({"AU12": [4.0]})
    loaded = Animator.from_bundle(tmp_path / "bundle")
    np.testing.assert_array_equal(
        next(loaded.animate(portrait, table)), next(Animator.from_bundle(model, analyzer).animate(portrait, table))
    )
    loaded.analyzer.close()


def test_a_source_without_a_face_is_refused(model: ICface, analyzer: Analyzer) -> None:
    animator = Animator.from_bundle(model, analyzer)
    with pytest.raises(IcfaceError, match="no face is found in the source picture") as caught:
        animator.animate(np.full((80, 80, 3), 128, np.uint8), pd.DataFrame({"AU12": [1.0]}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["yaw", "AU99"])
def test_unknown_columns_are_refused_at_the_call(
    column: str, model: ICface, analyzer: Analyzer, portrait: np.ndarray
) -> None:
    with pytest.raises(IcfaceError, match=f"column '{column}'"):
        Animator.from_bundle(model, analyzer).animate(portrait, pd.DataFrame({column: [1.0]}))


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="not a model bundle"):
        Animator.from_bundle(tmp_path / "nowhere")


def test_no_rows_give_no_frames(model: ICface, analyzer: Analyzer, portrait: np.ndarray) -> None:
    empty = pd.DataFrame({"AU12": np.zeros(0)})
    assert list(Animator.from_bundle(model, analyzer).animate(portrait, empty)) == []


def test_every_picture_value_survives_the_way_to_the_network_and_back() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    np.testing.assert_array_equal(to_pictures(to_tensor(values)), values)
