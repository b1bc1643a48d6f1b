"""The training step as data: which networks a phase trains, with which loss terms, how often.

A step runs the phases in order. Each phase has its backwards (one for each part of the batch), one gradient all-reduce,
and one optimiser step of each network that learns in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from icface.bundle import ICface
from icface.networks.discriminator import Discriminator, DiscriminatorOutput
from icface.networks.generators import EncodedGenerator
from icface.networks.warp import PICTURE
from icface.training.batch import DeviceBatch
from icface.training.compiling import compile_regions
from icface.training.config import TrainConfig
from icface.training.critic import Critic
from icface.training.losses import Losses, Readings, Terms


@dataclass
class Step:
    """One step's inputs, or a part of them, and the pictures that its phases share."""

    number: int
    batch: DeviceBatch
    noise: Tensor | float
    """Added to the generator's input; like the picture."""
    ramp: Tensor | float | None = None
    """0..1, what the neutraliser's pseudo target counts; None before it begins."""
    neutral: Tensor | None = None
    animated: Tensor | None = None
    edited: Tensor | None = None


@dataclass(frozen=True)
class Phase:
    """One optimiser step of one or more networks."""

    name: str
    networks: tuple[str, ...]
    """Keys of `Networks.learners` that learn in this phase; all others stand still."""
    terms: Callable[[Step], Terms]
    interval: int = 1
    """Runs every so many steps."""
    overlaps: bool = False
    """Whether it needs none of the networks that the phase before it trained: that phase's gradients are exchanged
    meanwhile, and its optimisers step afterwards."""


class Networks:
    """The networks of a training and the phases of its recipe."""

    def __init__(
        self,
        config: TrainConfig,
        model: ICface,
        discriminator: Discriminator,
        losses: Losses,
        neutral_encoded: Tensor,
        critic: Critic | None = None,
    ) -> None:
        self.config = config
        self.losses = losses
        self.critic = critic
        self.neutral_encoded = neutral_encoded
        self.neutraliser_attributes = model.neutraliser_attributes
        self.layered = config.model.layered
        self.learners: dict[str, nn.Module] = {
            "neutraliser": model.neutraliser,
            "generator": model.generator,
            "discriminator": discriminator,
        }
        """What learns, each with an optimiser of its own."""
        if isinstance(model.generator, EncodedGenerator):
            self.learners |= {"generator": model.generator.generator, "encoder": model.generator.encoder}
        self.neutraliser, self.generator = model.neutraliser, model.generator
        self.discriminator = self._plain_discriminator = discriminator
        if config.compile == "always":
            for network in (self.neutraliser, self.generator):
                compile_regions(network)
            self.discriminator = cast(Discriminator, torch.compile(discriminator, dynamic=False))

    def phases(self) -> list[Phase]:
        """The phases of `config.loss.recipe`, in the order in which a step runs them."""
        loss = self.config.loss
        # I_E learns through G_A's loss.
        generator = tuple(name for name in ("generator", "encoder") if name in self.learners)
        if loss.recipe == "paper":
            return [
                Phase("D", ("discriminator",), self._paper_discriminator),
                Phase("A", generator, self._paper_generator),
                Phase("N", ("neutraliser",), self._paper_neutraliser),
            ]
        phases = [
            Phase("G", ("neutraliser", *generator), self._generators),
            # D judges the pictures that the generators made before they learned.
            Phase("D", ("discriminator",), self._discriminator, overlaps=True),
        ]
        if loss.r1:
            phases.append(Phase("R1", ("discriminator",), self._gradient_penalty, loss.r1_interval))
        return phases

    def neutralise(self, batch: DeviceBatch) -> Tensor:
        """G_N on the source: (B, C, S, S), the neutral face as G_A takes it (`icface.bundle.ICface.neutralise`)."""
        told = self.neutraliser_attributes(batch.source_encoded)
        if self.layered:
            return self.neutraliser(batch.source, told, with_flow=True).layers(batch.source)
        return self.neutraliser(batch.source, told)

    def animate(self, step: Step, neutral: Tensor) -> Tensor:
        """G_A on a neutral face with the driving code: (B, 3, S, S)."""
        return self.generator(_noisy(neutral, step.noise), step.batch.driving_encoded)

    def _neutral(self, count: int) -> Tensor:
        return self.neutral_encoded.expand(count, -1)

    def kind(self, number: int) -> tuple[bool, bool]:
        """Steps of one kind run the same networks in each phase. Whether pseudo targets and R1 are among them."""
        r1 = bool(self.config.loss.r1) and number % self.config.loss.r1_interval == 0
        return self.pseudo_ramp(number) is not None, r1

    def pseudo_ramp(self, number: int) -> float | None:
        """What the neutraliser's pseudo target counts in step `number`, from 0: None, and from its start on 0..1."""
        start = self.config.loss.pseudo_target_start * self.config.steps
        ramp = 1.0 if start == 0 else min(number / start - 1, 1.0)
        return ramp if ramp > 0 else None

    def _generators(self, step: Step) -> Terms:
        batch = step.batch
        terms: Terms = {}
        moving = bool(self.config.loss.landmarks) and self.config.model.architecture == "warp"
        mouths = self.config.loss.mouths
        if moving:
            faces = self.neutraliser(batch.source, self.neutraliser_attributes(batch.source_encoded), with_flow=True)
            neutral = faces.picture
            handed_on = faces.layers(batch.source) if self.layered else neutral
            # With `mouths`, what G_A is judged by teaches G_N what to move and where to paint. What its paint looks
            # like only the neutral frames and D teach: else it marks the lips for G_A and the critic, in purple.
            given = handed_on
            if mouths:
                given = faces.layers(batch.source, taught=False) if self.layered else faces.shown
            driven = self.generator(_noisy(given, step.noise), batch.driving_encoded, with_flow=True)
            animated = driven.picture
            terms = self.losses.landmark_flow(batch, faces.flow, driven.flow)
            if self.config.loss.painted:
                terms |= self.losses.painted(batch, faces.kept, driven.kept)
            if mouths:
                terms |= self.losses.inside(batch, driven.painted)
        else:
            handed_on = self.neutralise(batch)
            neutral = handed_on[:, :PICTURE]
            animated = self.animate(step, handed_on)
        step.neutral, step.animated = neutral.detach(), animated.detach()  # what D judges after this phase
        generated = [animated, neutral]
        if self.critic is not None:
            edits = self.critic.draw_edits(batch)
            # Detached: the neutral face has its own target, and need not be bent to please an edit.
            start = handed_on.detach()[: len(edits.encoded)]
            if moving and mouths:
                changed = self.generator(start, edits.encoded, with_flow=True)
                edited = changed.picture
                # Taught by the critic, paint would turn into whatever colour pleases it.
                terms |= self.critic.terms(batch, driven.shown, faces.shown, changed.shown, edits, changed)
            else:
                edited = self.generator(start, edits.encoded)
                terms |= self.critic.terms(batch, animated, neutral, edited, edits)
            step.edited = edited.detach()
            generated.append(edited)
        readings = self.losses.read(self.discriminator, batch, *generated)
        of_animated, of_neutral, *of_edited = readings.generated
        terms |= self.losses.animated(self.discriminator, batch, animated, of_animated, readings)
        for output in of_edited:
            terms |= self.losses.edited(self.discriminator, batch, output, readings)
        return terms | self._neutral_terms(step, handed_on, of_neutral, readings)

    def _neutral_terms(self, step: Step, handed_on: Tensor, output: DiscriminatorOutput, readings: Readings) -> Terms:
        neutral = handed_on[:, :PICTURE]
        pseudo, ramp = neutral.detach(), step.ramp if step.ramp is not None else 0.0
        if step.ramp is not None:
            with torch.no_grad():  # detached: a target that learns would meet its pupil at one constant picture
                pseudo = self.generator(handed_on.detach(), self._neutral(len(step.batch)))
        encoded = self._neutral(len(step.batch))
        return self.losses.neutralised(self.discriminator, step.batch, neutral, encoded, pseudo, ramp, output, readings)

    def _discriminator(self, step: Step) -> Terms:
        if step.neutral is None or step.animated is None:  # no generator has run in this step
            with torch.no_grad():
                handed_on = self.neutralise(step.batch)
                step.neutral, step.animated = handed_on[:, :PICTURE], self.animate(step, handed_on)
        generated = [pictures for pictures in (step.animated, step.neutral, step.edited) if pictures is not None]
        return self.losses.discriminator(self.discriminator, step.batch, *generated)

    def _gradient_penalty(self, step: Step) -> Terms:
        return self.losses.gradient_penalty(self._plain_discriminator, step.batch)

    def _paper_discriminator(self, step: Step) -> Terms:
        terms = self._discriminator(step)
        loss = self.config.loss
        if loss.r1 and step.number % loss.r1_interval == 0:
            terms |= self._gradient_penalty(step)
        return terms

    def _paper_generator(self, step: Step) -> Terms:
        assert step.neutral is not None
        animated = self.animate(step, step.neutral)
        readings = self.losses.read(self.discriminator, step.batch, animated)
        return self.losses.animated(self.discriminator, step.batch, animated, readings.generated[0], readings)

    def _paper_neutraliser(self, step: Step) -> Terms:
        neutral = self.neutralise(step.batch)
        readings = self.losses.read(self.discriminator, step.batch, neutral[:, :PICTURE], features=False)
        terms = self._neutral_terms(step, neutral, readings.generated[0], readings)
        return terms | self.losses.reanimated(step.batch, self.animate(step, neutral))


def _noisy(neutral: Tensor, noise: Tensor | float) -> Tensor:
    """A neutral face (B, C, S, S) with `noise` on its picture, the first three channels."""
    if neutral.shape[1] == PICTURE:
        return neutral + noise
    return torch.cat([neutral[:, :PICTURE] + noise, neutral[:, PICTURE:]], dim=1)
