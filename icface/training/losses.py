"""Every loss term, under the paper's names, readable next to the paper (section 3).

G_N is the neutraliser, G_A the generator, D the shared discriminator, I_E the optional encoder. Terms come out as
a dict of scalars already multiplied by their weights, so that their sum is the loss and a log shows what each adds.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from icface.networks.discriminator import Discriminator, Judgement
from icface.networks.warp import followed
from icface.training.batch import DeviceBatch
from icface.training.config import LossConfig
from icface.training.distributed import mean_over_ranks, world
from icface.training.regions import region_weights

Terms = dict[str, Tensor]


def lsgan(judgement: Judgement, target: float) -> Tensor:
    """Least squares adversarial loss of patch logits against 1 (real) or 0 (fake)."""
    return F.mse_loss(judgement.realness.float(), torch.full_like(judgement.realness, target, dtype=torch.float32))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, n) where `mask` (B, n) bool; 0 when nothing is measured.

    Under several ranks the sum is divided by the ranks' mean count, so that the mean of the ranks' gradients is the
    gradient of the whole batch's mean.

    >>> masked_mean(torch.tensor([[1.0, 5.0]]), torch.tensor([[True, False]])).item()
    1.0
    """
    count = mean_over_ranks(mask.sum())
    return (values * mask).sum() / count.clamp(min=1 / world()[1])


class AttributeLoss:
    """Squared error on attributes divided by their training standard deviation; null attributes are masked.

    AUs are mostly exact zeros, so an L1 head learns zero and teaches nothing; recipe `paper` keeps its L1.
    """

    FLOOR = 0.05
    """Smallest standard deviation, coded: what hardly varies must not rule the loss."""

    def __init__(self, recipe: str, deviations: Tensor, trained: Tensor) -> None:
        self.recipe = recipe
        self.scale = deviations.clamp(min=self.FLOOR)
        self.trained = trained

    def __call__(self, predicted: Tensor, asked: Tensor, measured: Tensor) -> Tensor:
        mask = measured & self.trained
        error = predicted.float() - asked
        if self.recipe == "paper":
            return masked_mean(error.abs(), mask)
        return masked_mean((error / self.scale).square(), mask)


class Losses:
    """The loss terms of one training."""

    def __init__(
        self, config: LossConfig, attribute_loss: AttributeLoss, perceptual: torch.nn.Module | None = None
    ) -> None:
        self.config = config
        self.attribute_loss = attribute_loss
        self.perceptual = perceptual

    def reconstruction(self, output: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        """L1 between pictures, heavier on the eyes and the mouth of the target."""
        error = (output - target).abs()
        if self.config.regions:
            error = error * region_weights(landmarks, error.shape[-1], self.config.regions)
        return error.mean()

    def landmark_flow(self, batch: DeviceBatch, neutral_flow: Tensor, animated_flow: Tensor) -> Terms:
        """Where the two flows come from, held against the landmarks of the frames; half widths of the picture.

        The driving frame's landmarks, taken back through G_A's flow and then G_N's, are the source's. Where the track
        has a near-neutral frame, each flow is held against that frame's too.
        """
        driving, source, neutral = (
            2 * points - 1 for points in (batch.driving_landmarks, batch.source_landmarks, batch.neutral_landmarks)
        )
        between = followed(animated_flow, driving)
        own = batch.has_neutral[:, None, None]
        distances = {
            "A/landmarks": (followed(neutral_flow, between) - source).abs() + own * (between - neutral).abs(),
            "N/landmarks": own * (followed(neutral_flow, neutral) - source).abs(),
        }
        return {name: self.config.landmarks * distance.mean() for name, distance in distances.items()}

    def discriminator(self, d: Discriminator, batch: DeviceBatch, animated: Tensor, neutral: Tensor) -> Terms:
        """D: real against both outputs; attributes and identity are learned on the real picture only."""
        weights = self.config
        count = len(batch)
        judged = d(torch.cat([batch.driving, animated.detach(), neutral.detach()]))
        real, fake_animated, fake_neutral = (_part(judged, index, count) for index in range(3))
        terms = {
            "D/adversarial": weights.adversarial
            * (lsgan(real, 1.0) + 0.5 * (lsgan(fake_animated, 0.0) + lsgan(fake_neutral, 0.0))),
            "D/attribute": self.attribute_loss(real.attributes, batch.driving_code, batch.driving_measured),
            "D/identity": F.cross_entropy(d.identity_logits(real.identity).float(), batch.identity),
        }
        return terms

    def gradient_penalty(self, d: Discriminator, batch: DeviceBatch) -> Terms:
        """R1: squared norm of the realness' gradient on real pictures, in float32; lazily, so scaled up."""
        pictures = batch.driving.detach().requires_grad_(True)
        with torch.autocast(pictures.device.type, enabled=False):
            realness = d(pictures).realness
            (gradient,) = torch.autograd.grad(realness.mean(dim=(1, 2, 3)).sum(), pictures, create_graph=True)
        norm = gradient.square().sum(dim=(1, 2, 3)).mean()
        return {"D/R1": self.config.r1 * self.config.r1_interval * norm}

    def judged(
        self, d: Discriminator, prefix: str, output: Judgement, code: Tensor, measured: Tensor, batch: DeviceBatch
    ) -> Terms:
        """What D teaches a generator: realism, the attributes asked for, the person."""
        weights = self.config
        terms = {
            f"{prefix}/adversarial": weights.adversarial * lsgan(output, 1.0),
            f"{prefix}/attribute": weights.attribute * self.attribute_loss(output.attributes, code, measured),
        }
        if weights.identity and weights.recipe == "paper":
            logits = d.identity_logits(output.identity).float()
            terms[f"{prefix}/identity"] = weights.identity * F.cross_entropy(logits, batch.identity)
        elif weights.identity:
            with torch.no_grad():
                person = d(batch.source).identity
            terms[f"{prefix}/identity"] = weights.identity * (1 - (output.identity * person).sum(dim=1)).mean()
        return terms

    def animated(self, d: Discriminator, batch: DeviceBatch, animated: Tensor) -> Terms:
        """G_A: the driving frame from the neutral face and the driving frame's own attributes."""
        weights = self.config
        output = d(animated)
        terms = self.judged(d, "A", output, batch.driving_code, batch.driving_measured, batch)
        terms["A/reconstruction"] = weights.reconstruction * self.reconstruction(
            animated, batch.driving, batch.driving_landmarks
        )
        if weights.feature_matching:
            with torch.no_grad():
                real = d(batch.driving)
            terms["A/features"] = weights.feature_matching * _feature_distance(output, real)
        if weights.perceptual and self.perceptual is not None:
            terms["A/perceptual"] = weights.perceptual * self.perceptual(animated, batch.driving)
        return terms

    def neutralised(
        self, d: Discriminator, batch: DeviceBatch, neutral: Tensor, neutral_code: Tensor, pseudo: Tensor, ramp: float
    ) -> Terms:
        """G_N: a neutral face of the same person.

        Its target is the track's near-neutral frame where there is one; for the rest the detached pseudo target
        `pseudo`, what G_A makes of the neutral face with the neutral code, comes in with `ramp` 0..1.
        """
        weights = self.config
        everything = torch.ones_like(batch.driving_measured)
        terms = self.judged(d, "N", d(neutral), neutral_code, everything, batch)
        own = batch.has_neutral[:, None, None, None]
        if weights.recipe == "paper":
            own = torch.zeros_like(own)
        target = torch.where(own, batch.neutral, pseudo.detach())
        weight = torch.where(own, 1.0, ramp)
        terms["N/reconstruction"] = weights.reconstruction * ((neutral - target).abs() * weight).mean()
        return terms


def _part(judgement: Judgement, index: int, count: int) -> Judgement:
    part = slice(index * count, (index + 1) * count)
    return Judgement(
        judgement.realness[part],
        judgement.attributes[part],
        judgement.identity[part],
        [feature[part] for feature in judgement.features],
    )


def _feature_distance(output: Judgement, real: Judgement) -> Tensor:
    distances = [F.l1_loss(a.float(), b.float()) for a, b in zip(output.features, real.features, strict=True)]
    return torch.stack(distances).mean()
