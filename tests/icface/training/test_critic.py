"""The critic: edits without a target, errors against torch's own smooth L1, and what learns from them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training
from torch import Tensor

from benchmarks.counting import count
from icface.analyzers.blendshapes import MEASURES
from icface.analyzers.mediapipe_torch.task import load_task
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.bundle import BundleConfig
from icface.networks.config import ModelConfig
from icface.networks.warp import Warped
from icface.training.config import LossConfig
from icface.training.critic import (
    EDITED_WEIGHT,
    EDITED_WITH_MOUTHS,
    Critic,
    Edits,
    make_critic,
    moved_points,
    why_no_critic,
)
from icface.training.finite import DeferredCheck
from icface.training.losses import ELSEWHERE, INSIDE
from icface.training.losses import LIPS as LIPS_WEIGHT
from icface.training.mouth_colours import borrowed_mouths
from icface.training.region_weights import LEAST_LIPS, between_lips, misplaced_paint, on_lips

SEEN = {
    **{name: Seen(min=-0.6, p01=-0.4, p50=0.0, p99=0.4, max=0.6) for name in ATTRIBUTE_NAMES[:3]},
    **{name: Seen(min=0.0, p01=0.0, p50=0.1, p99=2.0, max=3.0) for name in ATTRIBUTE_NAMES[3:]},
}
SHARES = {name: float(name in MEASURES) for name in ATTRIBUTE_NAMES}
SCHEMA = AttributeSchema.default().with_measured_shares(SHARES).with_seen(SEEN)
NAMES = [name for name in SCHEMA.names if name in MEASURES]
MOUTHS = {"mouths": True, "painted": 1.0, "landmarks": 1.0}
BLINK, SMILE, JAW, LIPS, YAW = (NAMES.index(name) for name in ("AU45", "AU12", "AU26", "AU25", "pose_yaw"))


class Read(NamedTuple):
    unclipped: Tensor
    mesh: Tensor
    landmarks: Tensor


class Brightness:
    """Reads each attribute as the brightness of a pixel of its own, and landmarks out of two columns."""

    def __call__(self, images: Tensor) -> Read:
        values = images[:, 0].flatten(1)
        unknown = torch.tensor([name not in MEASURES for name in ATTRIBUTE_NAMES])
        mesh = values[:, : 3 * 300].repeat(1, 2)[:, : 3 * 478].view(-1, 478, 3)
        return Read(values[:, :20].masked_fill(unknown, float("nan")), mesh, values[:, :136].view(-1, 68, 2))


@pytest.fixture(scope="module")
def canonical() -> np.ndarray:
    return load_task(None).canonical


def critic_of(canonical: np.ndarray, **options: float) -> Critic:
    plain = {"critic_shape": 0.0, "critic_hold": 0.0, "critic_share": 1.0, "critic_jitter": False}
    config = LossConfig(critic=1.0, **{**plain, **options})
    return Critic(config, SCHEMA, Brightness(), MEASURES, canonical)


def drawn(canonical: np.ndarray, count: int = 600) -> tuple[Critic, Edits, Tensor]:
    critic = critic_of(canonical)
    torch.manual_seed(0)
    batch = synthetic_batch(0, 4).to(torch.device("cpu"))
    batch = replace(batch, **{k: v.repeat(count // 4, *[1] * (v.dim() - 1)) for k, v in vars(batch).items()})
    batch = replace(batch, driving_encoded=torch.rand(count, 20))
    return critic, critic.draw_edits(batch), batch.driving_encoded


def test_edits_are_units_pairs_and_other_peoples_attributes(canonical: np.ndarray) -> None:
    _, edits, driving = drawn(canonical)
    columns = [SCHEMA.index(name) for name in NAMES]
    np.testing.assert_allclose(SCHEMA.decode(edits.encoded)[:, columns], edits.wanted, atol=1e-5)
    borrowed = (edits.encoded == driving.roll(1, dims=0)).all(dim=1)
    assert (edits.weights[borrowed] == 1).all()
    edited = (edits.weights == EDITED_WEIGHT).sum(dim=1)
    assert (edited[borrowed] == 0).all()
    assert set(edited[~borrowed].tolist()) == {1, 2}
    for share, wanted in (((edited == 1).float(), 0.5), ((edited == 2).float(), 0.25), (borrowed.float(), 0.25)):
        assert share.mean().item() == pytest.approx(wanted, abs=0.06)
    units = edits.wanted[~borrowed][:, 3:]
    assert units.min() >= 0 and 1.9 < units.max() <= 2.0  # up to the 99th percentile
    poses = edits.wanted[~borrowed][:, :3]
    assert poses.abs().max() <= 0.4 and (poses != 0).any(dim=1).float().mean().item() == pytest.approx(0.5, abs=0.08)
    untrained = [SCHEMA.index(name) for name in SCHEMA.names if name not in MEASURES]
    assert (edits.encoded[~borrowed][:, untrained] == torch.from_numpy(SCHEMA.neutral_encoded()[untrained])).all()


def test_what_cannot_be_read_apart_may_follow(canonical: np.ndarray) -> None:
    _, edits, _ = drawn(canonical)
    jaw = (edits.weights[:, JAW] == EDITED_WEIGHT) & (edits.weights[:, LIPS] != EDITED_WEIGHT)
    assert (
        jaw.any()
        and (edits.weights[jaw][:, LIPS] == 0).all()
        and (edits.weights[jaw][:, NAMES.index("AU01")] > 0).all()
    )


def test_only_a_still_head_is_held_and_the_edited_part_is_free(canonical: np.ndarray) -> None:
    critic, edits, _ = drawn(canonical)
    forehead, chin, mouth_corner, upper_lid = 10, 152, 61, 159  # MediaPipe's mesh
    still = (edits.wanted[:, :3] == 0).all(dim=1)
    assert (edits.held.any(dim=1) == still).all()
    alone = still & (edits.weights == EDITED_WEIGHT).sum(dim=1).eq(1)
    jaw = edits.held[alone & (edits.weights[:, JAW] == EDITED_WEIGHT)]
    blink = edits.held[alone & (edits.weights[:, BLINK] == EDITED_WEIGHT)]
    assert jaw[:, [forehead, upper_lid]].all() and not jaw[:, [chin, mouth_corner]].any()
    assert blink[:, [forehead, chin, mouth_corner]].all() and not blink[:, upper_lid].any()
    assert not moved_points("pose_yaw", canonical).any()
    assert len(critic.draw_edits(synthetic_batch(0, 4).to(torch.device("cpu"))).encoded) == 4


def test_with_mouths_edited_and_shown_units_count_more(canonical: np.ndarray) -> None:
    torch.manual_seed(0)
    plain, critic = critic_of(canonical), critic_of(canonical, **MOUTHS)
    batch = synthetic_batch(0, 4).to(torch.device("cpu"))
    batch = replace(batch, **{k: v.repeat(50, *[1] * (v.dim() - 1)) for k, v in vars(batch).items()})
    state = torch.get_rng_state()
    before = plain.draw_edits(batch)
    torch.set_rng_state(state)
    after = critic.draw_edits(batch)
    assert torch.equal(before.encoded, after.encoded)
    borrowed = (before.encoded == batch.driving_encoded.roll(1, dims=0)).all(dim=1)
    shown = np.interp(after.wanted[borrowed][:, 3:], [0, 2], [1, 4])
    np.testing.assert_allclose(after.weights[borrowed][:, 3:], shown, rtol=1e-5)
    assert (after.weights[borrowed][:, :3] == 1).all()
    edited = before.weights == EDITED_WEIGHT
    assert (after.weights[edited] == EDITED_WITH_MOUTHS).all()
    assert torch.equal(after.weights[~edited & ~borrowed[:, None]], before.weights[~edited & ~borrowed[:, None]])


def test_a_unit_that_the_data_never_shows_leaves_the_losses_finite(canonical: np.ndarray) -> None:
    nowhere = Seen(min=0.0, p01=0.0, p50=0.0, p99=0.0, max=0.0)
    schema = SCHEMA.with_seen(SEEN | {"AU09": nowhere})
    critic = Critic(LossConfig(critic=1.0, critic_jitter=False, **MOUTHS), schema, Brightness(), MEASURES, canonical)
    batch = synthetic_batch(0, 4).to(torch.device("cpu"))
    batch = replace(batch, driving_encoded=torch.as_tensor(schema.neutral_encoded()).repeat(4, 1))
    pictures = torch.rand(12, 3, 32, 32) * 2 - 1
    edits = critic.draw_edits(batch)
    terms = critic.terms(batch, pictures[:4], pictures[4:8], pictures[8 : 8 + len(edits.encoded)], edits)
    assert all(torch.isfinite(value) for value in terms.values()), terms
    torch.manual_seed(0)
    many = replace(batch, **{k: v.repeat(100, *[1] * (v.dim() - 1)) for k, v in vars(batch).items()})
    edited = critic.draw_edits(many).weights == EDITED_WITH_MOUTHS
    assert edited.any() and not edited[:, NAMES.index("AU09")].any()


@pytest.mark.parametrize("mouths", [False, True])
def test_errors_are_smooth_l1_in_quarters_of_the_way_to_what_occurs(canonical: np.ndarray, mouths: bool) -> None:
    critic = critic_of(canonical, **(MOUTHS if mouths else {}))
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32) * 2 - 1
    edits = critic.draw_edits(batch)
    terms = critic.terms(batch, pictures[:4], pictures[4:8], pictures[8:], edits)
    columns = [SCHEMA.index(name) for name in NAMES]
    read = pictures[:, 0].flatten(1)[:, columns]
    scale = torch.tensor([0.1] * 3 + [0.5] * (len(NAMES) - 3))
    asked = torch.from_numpy(SCHEMA.decode(batch.driving_encoded))[:, columns]
    # With `mouths` a unit that a frame shows at its 99th percentile (2 here) or beyond counts four times.
    shown = np.interp(asked.numpy(), [0, 2], [1, 4 if mouths else 1])
    shown[:, :3] = 1
    driving = batch.driving_measured[:, columns].float() * torch.from_numpy(shown).float()
    for name, found, wanted, weights in (
        ("A/critic", read[:4], asked, driving),
        ("N/critic", read[4:8], torch.zeros(4, len(NAMES)), torch.ones(4, len(NAMES))),
        ("E/critic", read[8:], edits.wanted, edits.weights),
    ):
        found = found.clone()
        found[:, 3:] = torch.where(wanted[:, 3:] == 0, found[:, 3:].clamp(min=0), found[:, 3:])
        expected = (F.smooth_l1_loss(found / scale, wanted / scale, reduction="none") * weights).mean()
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_shapes_are_held_against_frames_and_the_neutral_picture(canonical: np.ndarray) -> None:
    critic = critic_of(canonical, critic_shape=10.0, critic_hold=5.0)
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32)
    edits = replace(critic.draw_edits(batch), held=torch.arange(478).expand(4, -1) < 100)
    terms = critic.terms(batch, pictures[:4], pictures[4:8], pictures[8:], edits)
    reading = Brightness()(pictures)
    animated, neutral, _ = reading.landmarks.chunk(3)
    own = batch.has_neutral
    assert 0 < own.sum() < 4
    expected = 20 * (animated - batch.driving_landmarks).abs().mean()
    assert terms["A/shape"].item() == pytest.approx(expected.item(), rel=1e-5)
    expected = 20 * (neutral - batch.neutral_landmarks)[own].abs().mean() * own.float().mean()
    assert terms["N/shape"].item() == pytest.approx(expected.item(), rel=1e-5)
    moved = (reading.mesh[8:, :100, :2] - reading.mesh[4:8, :100, :2]).abs().mean() * 100 / 478
    assert terms["E/shape"].item() == pytest.approx(10 * moved.item(), rel=1e-5)
    # The same face before and after an edit: nothing to hold it back.
    assert critic.terms(batch, pictures[:4], pictures[4:8], pictures[4:8], edits)["E/shape"] == 0


def test_paint_of_edits_costs_but_between_the_lips_that_are_found(canonical: np.ndarray) -> None:
    critic = critic_of(canonical, mouths=True, painted=3.0, landmarks=1.0)
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32, requires_grad=True)
    changed = changed_pictures(pictures[8:].detach())
    kept = changed.kept.detach()
    edits = critic.draw_edits(batch)
    given = (batch, pictures[:4], pictures[4:8], pictures[8:], edits)
    terms = critic.terms(*given, changed._replace(kept=kept))
    elsewhere, lips = misplaced_paint(kept, Brightness()(pictures[8:]).landmarks)
    assert terms["E/painted"].item() == pytest.approx(ELSEWHERE * 3 * elsewhere.item())
    assert terms["E/lips"].item() == pytest.approx(LIPS_WEIGHT * 3 * lips.item())
    # Where the lips are found is no way to make paint cheaper.
    assert not terms["E/painted"].requires_grad and not terms["E/lips"].requires_grad
    assert "E/painted" not in critic.terms(*given)  # architectures that paint all
    assert "E/lips" not in critic_of(canonical).terms(*given, changed)


def changed_pictures(pictures: Tensor) -> Warped:
    """Edited pictures (B, 3, S, S) of which random shares are painted, in random colours."""
    draw = torch.Generator().manual_seed(3)
    kept = torch.rand(len(pictures), 1, *pictures.shape[2:], generator=draw)
    moved, painted = (torch.rand(pictures.shape, generator=draw) * 2 - 1 for _ in range(2))
    flow = torch.zeros(len(pictures), 2, *pictures.shape[2:])
    learning = [tensor.requires_grad_(True) for tensor in (kept, moved, painted)]
    return Warped(pictures, flow, *learning)


def test_paint_of_edits_has_the_colours_of_real_mouths_and_leaves_the_lips_theirs(canonical: np.ndarray) -> None:
    critic = critic_of(canonical, mouths=True, painted=3.0, landmarks=1.0)
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32)
    changed = changed_pictures(pictures[8:])
    edits = critic.draw_edits(batch)
    term = critic.terms(batch, pictures[:4], pictures[4:8], pictures[8:], edits, changed)["E/inside"]
    found = Brightness()(pictures[8:]).landmarks
    real = torch.cat([batch.source, batch.driving]), torch.cat([batch.source_landmarks, batch.driving_landmarks])
    target, worth = borrowed_mouths(changed.picture, found, *real)
    expected = []
    for row in range(4):
        inside, lips = (of(found[row : row + 1], 32)[0, 0].double().numpy() for of in (between_lips, on_lips))
        paint = changed.painted[row].detach().double().numpy()
        wrong = np.abs(paint - target[row].numpy()).mean(axis=0) * inside
        over = np.abs(paint - changed.moved[row].detach().numpy()).mean(axis=0)
        over *= lips * (1 - changed.kept[row, 0].detach().numpy())
        least = LEAST_LIPS * 32**2
        covered = (lips * (1 - changed.kept[row, 0].detach().numpy())).sum()
        expected.append(worth[row].item() * wrong.sum() / max(inside.sum(), least) + over.sum() / max(covered, least))
    assert term.item() == pytest.approx(INSIDE * np.mean(expected), rel=1e-4)
    # It teaches what paint looks like: not where it goes, nor what moves.
    gradients = torch.autograd.grad(term, (changed.kept, changed.moved, changed.painted), allow_unused=True)
    assert [gradient is not None for gradient in gradients] == [False, False, True]


def test_the_neutral_pictures_term_has_a_factor_of_its_own(canonical: np.ndarray) -> None:
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32)
    terms = []
    for factor in (1.0, 3.0):
        critic = critic_of(canonical, critic_neutral=factor)
        torch.manual_seed(0)
        edits = critic.draw_edits(batch)
        terms.append(critic.terms(batch, pictures[:4], pictures[4:8], pictures[8:], edits))
    assert terms[1]["N/critic"].item() == pytest.approx(3 * terms[0]["N/critic"].item())
    assert terms[1]["A/critic"].item() == terms[0]["A/critic"].item()


def test_a_jittered_critic_reads_other_pictures_and_puts_landmarks_back(canonical: np.ndarray) -> None:
    critic = critic_of(canonical, critic_jitter=True, critic_shape=10.0, critic_hold=5.0)
    batch = synthetic_batch(1, 4).to(torch.device("cpu"))
    pictures = torch.rand(12, 3, 32, 32)
    edits = critic.draw_edits(batch)
    one, another = (critic.terms(batch, pictures[:4], pictures[4:8], pictures[8:], edits) for _ in range(2))
    assert one.keys() == another.keys() and all(one[name] != another[name] for name in ("A/critic", "A/shape"))
    # `Brightness` finds landmarks by the mean brightness; a look changes that and nothing else.
    assert all(bool(value.isfinite()) for value in one.values())


def test_edits_teach_the_generator_and_leave_the_neutraliser_alone(canonical: np.ndarray) -> None:
    critic = critic_of(canonical)
    training = tiny_training(tiny_config(), SCHEMA, critic=critic)
    networks = training.networks
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = synthetic_batch(0).to(torch.device("cpu"))
    neutral = networks.neutralise(batch)
    edits = critic.draw_edits(batch)
    edited = networks.generator(neutral.detach(), edits.encoded)
    terms = critic.terms(batch, edited.detach(), neutral[:, :3].detach(), edited, edits)
    terms["E/critic"].backward()
    moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in training.model.generator.parameters()]
    assert any(moved)
    assert all(parameter.grad is None for parameter in training.model.neutraliser.parameters())


def test_a_training_step_reads_edits_and_lets_d_judge_them(canonical: np.ndarray) -> None:
    config = tiny_config(loss={"critic": 1.0, "critic_share": 0.5})
    training = tiny_training(config, SCHEMA, critic=critic_of(canonical, critic_shape=1.0, critic_hold=1.0))
    judged = []
    training.discriminator.register_forward_pre_hook(lambda _, inputs: judged.append(len(inputs[0])))
    training.step(synthetic_batch(0))
    terms = training.metrics()
    wanted = {"A/critic", "N/critic", "E/critic", "A/shape", "N/shape", "E/shape", "E/adversarial", "E/identity"}
    assert wanted <= set(terms)
    assert np.isfinite(list(terms.values())).all()
    assert 4 + 4 + 4 + 4 in judged  # real, animated, neutral, edited


def test_a_step_with_mediapipes_networks_waits_for_nothing() -> None:
    """As on a GPU: the check stays on the device, and no number comes from the host."""
    described = BundleConfig(model=ModelConfig(size=32), schema=SCHEMA, analyzer={"name": "mediapipe"})
    training = tiny_training(
        tiny_config("icface", loss={"critic": 1.0, "mouths": True, "pseudo_target_start": 0.0}),
        critic=make_critic(LossConfig(critic=1.0), described),
    )
    training.check = DeferredCheck(training.device)
    training.step(synthetic_batch(0))
    batch = synthetic_batch(1)
    assert count(lambda: training.step(batch), {}).waits == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"analyzer": {"name": "openface"}}, "labels are by openface"),
        ({"baselines": True}, "data.baselines"),
    ],
)
def test_a_critic_that_would_read_on_another_scale_is_left_out(changes: dict, reason: str) -> None:
    described = BundleConfig(model=ModelConfig(size=32), schema=SCHEMA, analyzer={"name": "mediapipe"})
    assert why_no_critic(LossConfig(critic=1.0), described) is None
    described = replace(described, **changes)
    assert reason in (why_no_critic(LossConfig(critic=1.0), described) or "")
    assert make_critic(LossConfig(critic=1.0), described) is None
    assert why_no_critic(LossConfig(), described) is None


def test_a_real_face_agrees_with_its_own_labels_more_than_with_others(
    sample_clips: dict, canonical: np.ndarray
) -> None:
    from icface.analyzers import create
    from icface.animate import to_tensor
    from icface.crop import CropRule, crop_image
    from icface.video.reading import read_frames

    analyzer = create("mediapipe")
    frames = next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"], every=40, window=8))[1]
    faces = [found[0] for found in analyzer.analyze(frames, range(len(frames)), "clip")]
    analyzer.close()
    height, width = frames.shape[1:3]
    squares = CropRule(mode="track").squares(np.stack([face.box for face in faces]), 25, width, height)
    crops = np.stack([crop_image(frame, square, 64) for frame, square in zip(frames, squares, strict=True)])
    labels = np.stack([face.attributes for face in faces])
    described = BundleConfig(model=ModelConfig(size=64), schema=SCHEMA, analyzer={"name": "mediapipe"})
    critic = make_critic(LossConfig(critic=1.0, critic_share=1.0), described)
    assert critic is not None
    batch = synthetic_batch(0, len(crops)).to(torch.device("cpu"))
    losses = {}
    pictures = to_tensor(crops)
    with torch.no_grad():
        edits = critic.draw_edits(batch)
        for shift in (0, 3):
            encoded, _ = SCHEMA.encode(np.roll(labels, shift, axis=0))
            asked = replace(
                batch,
                driving_encoded=torch.from_numpy(encoded),
                driving_measured=torch.from_numpy(SCHEMA.measured(labels)),
            )
            losses[shift] = critic.terms(asked, pictures, pictures, pictures, edits)["A/critic"].item()
    assert losses[0] < 0.4 * losses[3]
