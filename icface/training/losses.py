"""Every loss term of both recipes, under the paper's names, in one place, readable next to the paper (section 3).

G_N is the neutraliser, G_A the generator, D the shared discriminator, I_E the optional encoder.

| here | paper | term |
|---|---|---|
| `D/adversarial` `A/adversarial` `N/adversarial` | L_adv | LSGAN (or hinge) on D's patches |
| `D/attribute` | L_FA on real pictures | D's attributes against the labels |
| `A/attribute` `N/attribute` | λ_A L_FA | D's attributes of the output against those asked for |
| `D/identity` `A/identity` `N/identity` | L_cls, λ_C | the person |
| `A/reconstruction` | λ_D L_rec | L1 of G_A(I_E(G_N(source))) to the driving frame |
| `N/reconstruction` | λ_D | L1 of G_N(source) to its (pseudo) target |
| `N/reanimation` | λ_B | L1 of the re-animated neutral face to the driving frame, learned by G_N |
| `N/perceptual` `A/perceptual` | 0.1 VGG | L1 of features of a network trained on ImageNet |
| `D/R1` | 0.05 | squared gradient norm on real pictures |
| `A/features` | - | L1 between D's features |
| `A/landmarks` `N/landmarks` | - | where the flows take the landmarks from |
| `A/painted` `N/painted` | - | how much of the picture is painted, not moved; of G_A's, not between the lips |
| `A/lips` | - | how much between the lips is moved, not painted |
| `A/inside` | - | L1 of what is painted there to the driving frame |
| `E/adversarial` `E/identity` | - | D's realism and person of random edits, which have no target |

A frozen analyzer's terms are in `icface.training.critic`.

Terms come out as a dict of scalars already multiplied by their weights, so that their sum is the loss and a log shows
what each adds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from icface.networks.discriminator import Discriminator, DiscriminatorOutput
from icface.networks.warp import followed
from icface.training.batch import DeviceBatch
from icface.training.config import LossConfig
from icface.training.mouth_colours import inside_error
from icface.training.region_weights import between_lips, landmark_weights, misplaced_paint, region_weights

Terms = dict[str, Tensor]
D_WEIGHTS = {"D/adversarial": 1.0, "D/attribute": 0.1, "D/identity": 0.1}
"""With `mouths`: what D's tasks weigh in D. Heads that weigh more than realism left it at chance for 500 steps."""
LIPS, ELSEWHERE = 0.1, 3.0
"""With `mouths`: weights of what G_A does not paint between the lips, and of what it paints elsewhere."""
INSIDE = 4.0
"""With `mouths`: weight of the L1 of what is painted between the lips to a real mouth."""
LIDS = 2.0
"""With `mouths`: a closed eye of the driving frame counts 1 + this times as much as an open one, beyond 1."""


class Readings(NamedTuple):
    """What D says in one phase of the generators' pictures, and of the real ones that they are held against."""

    generated: list[DiscriminatorOutput]
    """Of each batch of generated pictures, in the order in which they were given."""
    person: Tensor | None
    """(B, 256) identity of the source, where identities are embeddings; no gradient."""
    features: list[Tensor] | None
    """Of the driving frame, for feature matching; no gradient."""


class AttributeLoss:
    """Squared error on attributes divided by their training standard deviation; null attributes are masked.

    AUs are mostly exact zeros, so an L1 head learns zero and teaches nothing; recipe `paper` keeps its L1.
    """

    FLOOR = 0.05
    """Smallest standard deviation, coded: what hardly varies must not rule the loss."""

    def __init__(self, kind: str, deviations: Tensor, trained: Tensor) -> None:
        self.kind = kind
        self.scale = deviations.clamp(min=self.FLOOR)
        self.trained = trained

    def __call__(self, predicted: Tensor, asked: Tensor, weights: Tensor) -> Tensor:
        """Mean error of `predicted` (B, n) with the weights (B, n) of `icface.training.batch.mean_weights`."""
        error = predicted.float() - asked
        if self.kind == "l1":
            return (error.abs() * weights).sum()
        return ((error / self.scale).square() * weights).sum()


class Losses:
    """The loss terms of one training."""

    def __init__(
        self, config: LossConfig, attribute_loss: AttributeLoss, perceptual: torch.nn.Module | None = None
    ) -> None:
        self.config = config
        self.attribute_loss = attribute_loss
        self.perceptual = perceptual
        self._landmark_weights = landmark_weights().to(attribute_loss.scale.device) if config.mouths else None
        self.attribute_mask = torch.ones_like(attribute_loss.scale)
        """(n,) 1 or 0: the attributes that D reads well enough to teach the generators
        (`icface.training.validation.ValidationMetrics.reliable_attributes`)."""

    def adversarial(self, output: DiscriminatorOutput, real: bool) -> Tensor:
        """D's adversarial loss on pictures that it should call real or generated."""
        realness = output.realness.float()
        if self.config.gan == "hinge":
            return F.relu(1 - realness if real else 1 + realness).mean()
        return (realness - float(real)).square().mean()

    def generator_adversarial(self, output: DiscriminatorOutput) -> Tensor:
        """A generator's adversarial loss: low when D calls its output real."""
        realness = output.realness.float()
        if self.config.gan == "hinge":
            return -realness.mean()
        return (realness - 1).square().mean()

    def reconstruction(self, output: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        """L1 between pictures, heavier on the eyes and the mouth of the target."""
        error = (output - target).abs()
        if self.config.regions:
            lids = LIDS if self.config.mouths else 0.0
            error = error * region_weights(landmarks, error.shape[-1], self.config.regions, lids)
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
        if self._landmark_weights is not None:
            distances = {name: distance * self._landmark_weights for name, distance in distances.items()}
        return {name: self.config.landmarks * distance.mean() for name, distance in distances.items()}

    def painted(self, batch: DeviceBatch, neutral_kept: Tensor, animated_kept: Tensor) -> Terms:
        """What is painted costs, so that it is painted where it pays: L1 likes a thin, blurring coat everywhere.

        Of each network, (B, 1, S, S) the share of every pixel that is moved.
        """
        weight = self.config.painted
        terms = {"N/painted": weight * (1 - neutral_kept).mean()}
        if not self.config.mouths:
            return terms | {"A/painted": weight * (1 - animated_kept).mean()}
        elsewhere, lips = misplaced_paint(animated_kept, batch.driving_landmarks)
        return terms | {"A/painted": ELSEWHERE * weight * elsewhere, "A/lips": LIPS * weight * lips}

    def inside(self, batch: DeviceBatch, painted: Tensor) -> Terms:
        """With `mouths`: what G_A paints (B, 3, S, S) between the lips is what the driving frame shows there."""
        lips = between_lips(batch.driving_landmarks, painted.shape[-1])
        return {"A/inside": INSIDE * inside_error(painted, batch.driving, lips)}

    def discriminator(self, d: Discriminator, batch: DeviceBatch, *generated: Tensor) -> Terms:
        """D: real against all generated pictures; attributes and identity are learned on the real picture only.

        Recipe `paper` adds up the outputs' losses; ours takes their mean, as much as the real pictures'.
        """
        weights = self.config
        real, *fakes = _together(d, [batch.driving, *(pictures.detach() for pictures in generated)])
        losses = torch.stack([self.adversarial(fake, False) for fake in fakes])
        fooled = losses.sum() if weights.recipe == "paper" else losses.mean()
        terms = {
            "D/adversarial": self.adversarial(real, True) + fooled,
            "D/attribute": self.attribute_loss(real.attributes, batch.driving_encoded, batch.driving_weight),
            "D/identity": F.cross_entropy(d.identity_logits(real.identity).float(), batch.identity),
        }
        factors = D_WEIGHTS if weights.mouths else {"D/adversarial": weights.adversarial}
        return {name: factors[name] * term if name in factors else term for name, term in terms.items()}

    def gradient_penalty(self, d: Discriminator, batch: DeviceBatch) -> Terms:
        """R1: squared norm of the realness' gradient on real pictures, in float32; lazily, so scaled up.

        `d` is not a compiled network: torch.compile refuses a backward of a backward.
        """
        pictures = batch.driving.detach().requires_grad_(True)
        with torch.autocast(pictures.device.type, enabled=False):
            realness = d(pictures).realness
            (gradient,) = torch.autograd.grad(realness.mean(dim=(1, 2, 3)).sum(), pictures, create_graph=True)
        norm = gradient.square().sum(dim=(1, 2, 3)).mean()
        return {"D/R1": self.config.r1 * self.config.r1_interval * norm}

    def read(self, d: Discriminator, batch: DeviceBatch, *generated: Tensor, features: bool = True) -> Readings:
        """What D says of one or more batches of generated pictures (B, 3, S, S) each, in one pass.

        The real pictures that the generators' losses need take one pass more, without gradient; `features` says
        whether feature matching is among them.
        """
        weights = self.config
        person = bool(weights.identity) and d.classes is not None
        match = features and bool(weights.feature_matching)
        real = []
        if person or match:
            with torch.no_grad():
                real = _together(d, [batch.source] * person + [batch.driving] * match)
        return Readings(
            generated=_together(d, generated),
            person=real[0].identity if person else None,
            features=real[-1].features if match else None,
        )

    def discriminator_feedback(
        self,
        d: Discriminator,
        prefix: str,
        output: DiscriminatorOutput,
        encoded: Tensor,
        weight: Tensor,
        batch: DeviceBatch,
        person: Tensor | None,
    ) -> Terms:
        """What D teaches a generator: realism, the attributes asked for (as far as D reads them), the person."""
        weights = self.config
        attribute = self.attribute_loss(output.attributes, encoded, weight * self.attribute_mask)
        terms = {
            f"{prefix}/adversarial": weights.adversarial * self.generator_adversarial(output),
            f"{prefix}/attribute": weights.attribute * attribute,
        }
        return terms | self._identity(d, prefix, output, batch, person)

    def edited(self, d: Discriminator, batch: DeviceBatch, output: DiscriminatorOutput, readings: Readings) -> Terms:
        """G_A: random edits of the first rows' neutral faces look real and show the same person, as D says."""
        terms = {"E/adversarial": self.config.adversarial * self.generator_adversarial(output)}
        return terms | self._identity(d, "E", output, batch, readings.person)

    def _identity(
        self, d: Discriminator, prefix: str, output: DiscriminatorOutput, batch: DeviceBatch, person: Tensor | None
    ) -> Terms:
        """How far outputs are from the persons of the batch's first rows, by D."""
        weight, rows = self.config.identity, len(output.identity)
        if person is not None:
            return {f"{prefix}/identity": weight * (1 - (output.identity * person[:rows]).sum(dim=1)).mean()}
        if not weight:
            return {}
        logits = d.identity_logits(output.identity).float()
        return {f"{prefix}/identity": weight * F.cross_entropy(logits, batch.identity[:rows])}

    def animated(
        self, d: Discriminator, batch: DeviceBatch, animated: Tensor, output: DiscriminatorOutput, readings: Readings
    ) -> Terms:
        """G_A: the driving frame from the neutral face and the driving frame's own attributes.

        `output` is what D says of `animated`.
        """
        weights = self.config
        terms = self.discriminator_feedback(
            d, "A", output, batch.driving_encoded, batch.driving_weight, batch, readings.person
        )
        terms["A/reconstruction"] = weights.reconstruction * self.reconstruction(
            animated, batch.driving, batch.driving_landmarks
        )
        if readings.features is not None:
            distance = _feature_distance(output.features, readings.features)
            terms["A/features"] = weights.feature_matching * distance
        if weights.perceptual and weights.recipe == "icface":
            terms["A/perceptual"] = self._perceptual(animated, batch.driving)
        return terms

    def neutralised(
        self,
        d: Discriminator,
        batch: DeviceBatch,
        neutral: Tensor,
        neutral_encoded: Tensor,
        pseudo: Tensor,
        ramp: Tensor | float,
        output: DiscriminatorOutput,
        readings: Readings,
    ) -> Terms:
        """G_N: a neutral face of the same person; `output` is what D says of `neutral`.

        Its target is the track's near-neutral frame where there is one (recipe `paper`: never). The rest have the
        detached pseudo target `pseudo`: what G_A makes of the neutral face with the neutral code. It comes in with
        `ramp` 0..1.
        """
        weights = self.config
        trained = self.attribute_loss.trained.float()
        weight = (trained / (trained.sum().clamp(min=1) * len(batch))).expand(len(batch), -1)
        terms = self.discriminator_feedback(d, "N", output, neutral_encoded, weight, batch, readings.person)
        own = (batch.has_neutral & weights.neutral_frames)[:, None, None, None]
        target = torch.where(own, batch.neutral, pseudo.detach())
        share = own + ~own * ramp
        if weights.mouths and weights.regions:  # a pseudo target has no landmarks
            regions = region_weights(batch.neutral_landmarks, neutral.shape[-1], weights.regions)
            share = torch.where(own, regions, share)
        terms["N/reconstruction"] = weights.reconstruction * ((neutral - target).abs() * share).mean()
        return terms

    def reanimated(self, batch: DeviceBatch, reanimated: Tensor) -> Terms:
        """G_N, recipe `paper`: the neutral face must hold what G_A needs to make the driving frame of it."""
        weights = self.config
        terms = {
            "N/reanimation": weights.reanimation
            * self.reconstruction(reanimated, batch.driving, batch.driving_landmarks)
        }
        if weights.perceptual:
            terms["N/perceptual"] = self._perceptual(reanimated, batch.driving)
        return terms

    def _perceptual(self, output: Tensor, target: Tensor) -> Tensor:
        if self.perceptual is None:
            raise ValueError("loss.perceptual is above 0, and no network was given to compare features with")
        return self.config.perceptual * self.perceptual(output, target)


def _together(d: Discriminator, pictures: Sequence[Tensor]) -> list[DiscriminatorOutput]:
    """What D says of each of several batches of pictures (B, 3, S, S), in one pass: D has no batch norm."""
    output = d(torch.cat(list(pictures)))
    sizes = [len(batch) for batch in pictures]
    realness, attributes, identity = (values.split(sizes) for values in output[:3])
    features = zip(*(feature.split(sizes) for feature in output.features), strict=True)
    parts = zip(realness, attributes, identity, map(list, features), strict=True)
    return [DiscriminatorOutput(*part) for part in parts]


def _feature_distance(output: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    return torch.stack([F.l1_loss(a.float(), b.float()) for a, b in zip(output, real, strict=True)]).mean()
