"""Models, portraits and pictures behind the page; nothing here knows of HTTP."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from icface.animate import Animator, Source
from icface.arrays import Picture
from icface.attributes import POSE_NAMES, Attribute, unit_of
from icface.control import ACTION_UNIT_WORDS, apply_edits, parse_edits
from icface.control.presets import presets_of
from icface.control.sides import words
from icface.control.tables import DEGREES, FACS_NAMES
from icface.errors import IcfaceError
from icface.provenance import Mark, bundle_hash
from icface.studio.kept import Kept
from icface.studio.latest import Latest, Overtaken
from icface.studio.resolvers import Resolvers

MODELS = 3
"""Open models."""
PORTRAITS = 32
PREPARED = 64
"""Portraits brought to neutral, each for one model."""
FILM_BATCH = 4
"""Frames of a film that are made at once: sliders wait no longer than that."""
POSE_WORDS = {
    "pitch": "up (–) and down (+)",
    "yaw": "right (–) and left (+) in the picture",
    "roll": "lean left and right",
}
SHORT = {raw: short for short, raw in DEGREES.items()}


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A picture that a visitor chose."""

    picture: Picture
    name: str
    """Shown on the page."""
    file: str = "portrait.png"
    """What a command line calls it: the name of the visitor's file."""


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model that is ready."""

    reference: str
    animator: Animator
    bundle: str
    """sha256 of its weights."""

    @property
    def mark(self) -> Mark:
        """What pictures of this model are marked with."""
        return Mark(bundle=self.bundle)


class Workshop:
    """Everything that is slow or large, once: open models, prepared portraits. Threads may share it."""

    def __init__(self, resolvers: Resolvers, device: str = "cpu") -> None:
        self.resolvers = resolvers
        self.device = device
        self.latest = Latest()
        self.portraits: Kept[Portrait] = Kept("portrait", PORTRAITS)
        self._models: OrderedDict[str, OpenModel] = OrderedDict()
        self._prepared: OrderedDict[tuple[str, str, int], Source] = OrderedDict()
        # Neither the networks nor the analyzer gain from two threads at once.
        self._busy = threading.Lock()

    def model(self, reference: str) -> OpenModel:
        """One of the models on offer, opened at first use.

        Raises IcfaceError for any other: a visitor cannot name a path.
        """
        with self._busy:
            found = self._models.get(reference)
            if found is not None:
                self._models.move_to_end(reference)
                return found
            if reference not in {choice.reference for choice in self.resolvers.models()}:
                raise IcfaceError(f"the model {reference!r} is not among those on offer; choose one from the list")
            folder = self.resolvers.bundle(reference)
            opened = OpenModel(
                reference=reference,
                animator=Animator.from_bundle(folder, device=self.device, batch=FILM_BATCH),
                bundle=bundle_hash(folder),
            )
            self._models[reference] = opened
            while len(self._models) > MODELS:
                old, dropped = self._models.popitem(last=False)
                dropped.animator.analyzer.close()
                self._prepared = OrderedDict((key, value) for key, value in self._prepared.items() if key[0] != old)
            return opened

    def prepared(self, model: OpenModel, portrait: str, face: int = 0) -> Source:
        """The portrait's face, found, cropped and brought to neutral once for each model."""
        key = (model.reference, portrait, face)
        picture = self.portraits.get(portrait).picture
        with self._busy:
            if key not in self._prepared:
                self._prepared[key] = model.animator.prepare(picture, face)
                while len(self._prepared) > PREPARED:
                    self._prepared.popitem(last=False)
            self._prepared.move_to_end(key)
            return self._prepared[key]

    def neutral(self, model: OpenModel, source: Source) -> Picture:
        """The neutral face."""
        with self._busy:
            return model.animator.neutral(source)

    @torch.inference_mode()
    def picture(
        self, model: OpenModel, source: Source, values: Mapping[str, float], view: str, sequence: int
    ) -> Picture:
        """The face with these values: AUs, and `pitch`, `yaw`, `roll` in degrees; the others are the source's own.

        Raises Overtaken when a newer request of the same view comes in before this one's turn. Raises IcfaceError for
        an unknown or untrained name or a value out of range.
        """
        self.latest.announce(view, sequence)
        table = self.edited(model, source, values)
        with self._busy:
            if self.latest.is_late(view, sequence):
                raise Overtaken
            return next(model.animator.animate(source, table))

    @staticmethod
    def edited(model: OpenModel, source: Source, values: Mapping[str, float]) -> pd.DataFrame:
        """A table of one row: the source's own values but for these."""
        schema = model.animator.model.schema
        edits = parse_edits([f"{name}={value:.6g}" for name, value in values.items()], schema)
        return apply_edits(pd.DataFrame(index=range(1)), schema, source.attributes, set=edits)

    def frames(self, model: OpenModel, source: Source, table: pd.DataFrame) -> Iterator[Picture]:
        """A film's frames; between any two batches a slider may have its turn."""
        frames = model.animator.animate(source, table)
        while True:
            with self._busy:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        """Give back the analyzers."""
        with self._busy:
            for model in self._models.values():
                model.animator.analyzer.close()
            self._models.clear()
            self._prepared.clear()


def describe_model(model: OpenModel) -> dict[str, object]:
    """What the page shows of a model: its sliders and presets."""
    config = model.animator.model.config
    return {
        "reference": model.reference,
        "size": model.animator.model.size,
        "licence": config.licence,
        "bundle": model.bundle,
        "sliders": [describe_slider(attribute) for attribute in config.schema.attributes],
        "presets": [vars(preset) for preset in presets_of(config.schema)],
    }


def describe_slider(attribute: Attribute) -> dict[str, object]:
    """One attribute as a slider: degrees for pose, the range that training has seen, why it is disabled if it is."""
    pose = attribute.name in POSE_NAMES
    name = SHORT.get(attribute.name, attribute.name)
    low, high, full = attribute.low, attribute.high, attribute.high
    if attribute.seen is not None:
        low, high = min(attribute.seen.min, attribute.neutral), max(attribute.seen.max, attribute.neutral)
        full = attribute.seen.p99
    factor = math.degrees(1) if pose else 1.0
    reason = ""
    if not attribute.trained:
        reason = f"not trained: its training data measured it on {attribute.measured_share:.0%} of the frames"
    return {
        "name": name,
        "region": attribute.region,
        "title": name.capitalize() if pose else words(name, FACS_NAMES) or name,
        "words": POSE_WORDS[name] if pose else ACTION_UNIT_WORDS.get(unit_of(name), ""),
        "unit": "°" if pose else "",
        # Rounded inwards: the last step of a slider is a value that the model takes.
        "low": math.ceil(low * factor * 100 - 1e-6) / 100,
        "high": math.floor(high * factor * 100 + 1e-6) / 100,
        "full": full * factor,
        "neutral": attribute.neutral * factor,
        "step": 0.5 if pose else 0.05,
        "trained": attribute.trained,
        "reason": reason,
    }


def own_values(source: Source) -> dict[str, float | None]:
    """The source's own attributes as sliders show them; None where not measured."""
    values: dict[str, float | None] = {}
    for name, value in source.attributes.items():
        shown = math.degrees(value) if name in POSE_NAMES else value
        values[SHORT.get(name, name)] = None if math.isnan(shown) else round(shown, 3)
    return values
