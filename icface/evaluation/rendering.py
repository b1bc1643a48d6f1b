"""From pairs to a model's pictures: the one place where what a pair asks for becomes what the networks are fed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.animate import generate, neutralise, to_pictures
from icface.arrays import Labels, Pictures
from icface.attributes import LABEL_NAMES, AttributeSchema
from icface.bundle import ICface
from icface.errors import IcfaceError
from icface.evaluation.pairs import EvaluationPair
from icface.images import resize


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Pictures of N pairs."""

    pictures: Pictures
    """(N, S, S, 3) uint8 RGB."""
    neutral: Pictures | None = None
    """(N, S, S, 3) the sources' neutral faces; None where whoever made the pictures has none."""
    clamped: npt.NDArray[np.int64] | None = None
    """(n,) values asked for outside the schema's range."""


class Renderer(Protocol):
    """Makes the pictures that are scored: a model, or a folder of frames that something else made."""

    size: int
    """Width and height of its pictures, px."""
    schema: AttributeSchema
    """What it can be asked for."""
    baselines: bool
    """Whether its zero is each person's own (`EvaluationPair.asked`)."""

    def render(self, pairs: Sequence[EvaluationPair]) -> Rendered:
        """The pictures of pairs, those of one source after each other."""
        ...


class ModelRenderer:
    """A model's pictures. The neutral faces of the last batch's sources are kept."""

    def __init__(self, model: ICface, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        # Convolutions run faster in this order, as in `icface.animate`.
        self.model = model.to(self.device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.size, self.schema, self.baselines = model.size, model.schema, model.config.baselines
        self._neutral: dict[str, Tensor] = {}

    def neutral(self, pairs: Sequence[EvaluationPair]) -> Tensor:
        """(N, 3, S, S) float32 in [-1, 1], on the device: the pairs' sources brought to neutral."""
        fresh = {pair.source_key: pair for pair in pairs if pair.source_key not in self._neutral}
        # Pairs of one source come one after another, so only the sources of this batch are worth keeping.
        self._neutral = {key: self._neutral[key] for key in {p.source_key for p in pairs} - fresh.keys()}
        if fresh:
            made = neutral_faces(self.model, list(fresh.values()), self.device)
            self._neutral |= dict(zip(fresh, made.split(1), strict=True))
        return torch.cat([self._neutral[pair.source_key] for pair in pairs])

    def render(self, pairs: Sequence[EvaluationPair]) -> Rendered:
        """The model's pictures of the pairs, (N, S, S, 3) uint8 RGB, and the neutral ones."""
        neutral = self.neutral(pairs)
        pictures, clamped = drive_pairs(self.model, neutral, pairs)
        return Rendered(pictures=pictures, neutral=to_pictures(neutral), clamped=clamped)


def render_pairs(model: ICface, pairs: Sequence[EvaluationPair], device: torch.device | str = "cpu") -> Pictures:
    """(N, S, S, 3) uint8 RGB: each pair's source with the attributes that the pair asks of `model`, at its size.

    Raises IcfaceError when the model has an attribute that is not one of `ATTRIBUTE_NAMES`.
    """
    return drive_pairs(model, neutral_faces(model, pairs, device), pairs)[0]


def neutral_faces(model: ICface, pairs: Sequence[EvaluationPair], device: torch.device | str = "cpu") -> Tensor:
    """(N, 3, S, S) float32 in [-1, 1], on `device`: the pairs' sources brought to neutral."""
    own = in_schema_order(np.stack([pair.own(model.config.baselines) for pair in pairs]), model.schema)
    return neutralise(model, sized([pair.source for pair in pairs], model.size), own, torch.device(device))


def drive_pairs(
    model: ICface, neutral: Tensor, pairs: Sequence[EvaluationPair]
) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """The pictures of `render_pairs` from the sources' `neutral` faces (N, 3, S, S), one a pair.

    Second, (n,) how many values of each attribute lay outside the schema's range. A model trained on labels less
    their track's baseline is asked for the same (`EvaluationPair.asked`).
    """
    asked = np.stack([pair.asked(model.config.baselines) for pair in pairs])
    encoded, clamped = model.schema.encode(in_schema_order(asked, model.schema))
    return to_pictures(generate(model, neutral, torch.from_numpy(encoded).to(neutral.device))), clamped


def in_schema_order(attributes: Labels, schema: AttributeSchema) -> Labels:
    """(N, n): the columns of (N, 20), or (N, 36) with sides, in the schema's order.

    Raises IcfaceError when the schema has an attribute that is not among them.
    """
    unknown = [name for name in schema.names if name not in LABEL_NAMES[: attributes.shape[1]]]
    if unknown:
        raise IcfaceError(f"this model is steered by {unknown[0]}, which nothing here measures; it cannot be evaluated")
    return attributes[:, [LABEL_NAMES.index(name) for name in schema.names]]


def sized(pictures: Sequence[Pictures], size: int) -> Pictures:
    """(N, size, size, 3) uint8 of pictures (H, W, 3)."""
    return np.stack([resize(picture, size) for picture in pictures])
