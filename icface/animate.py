"""Animating one portrait: the source face is found, brought to neutral once, and driven row by row."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from icface import analyzers
from icface.analyzers.face import Analyzer
from icface.arrays import Picture
from icface.bundle import ICface, load_bundle
from icface.control.sides import fit_sides
from icface.control.tables import check_columns
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.pixels import to_bytes, to_range


@dataclass(frozen=True, kw_only=True)
class Source:
    """A portrait that is ready to be animated."""

    crop: Picture
    """(S, S, 3) uint8 RGB: the face as the networks see it."""
    attributes: dict[str, float]
    """The face's own attributes, raw; NaN where not measured."""
    neutral: Tensor
    """(1, C, S, S) float32 in [-1, 1], on the model's device: the neutral face (`ICface.neutralise`)."""
    square: tuple[float, float, float]
    """x and y of the crop's upper left corner and its side, pixels of the picture."""
    faces: int = 1
    """How many faces the picture shows."""
    left_alone: tuple[str, ...] = ()
    """Trained attributes that were not measured, so that a neutraliser that is told the change leaves them."""


class Animator:
    """Turns one picture of a person and a table of attributes into frames."""

    def __init__(self, model: ICface, analyzer: Analyzer, device: str | torch.device = "cpu", batch: int = 16) -> None:
        self.device = torch.device(device)
        # Convolutions run faster in this order, on CPUs too.
        self.model = model.to(self.device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.analyzer = analyzer
        self.batch = batch
        self.clamped: dict[str, int] = {}
        """Values beyond those of the training in the last table animated, by attribute; only those that occurred."""

    @classmethod
    def from_bundle(
        cls,
        bundle: str | os.PathLike[str] | ICface,
        analyzer: Analyzer | None = None,
        device: str | torch.device = "cpu",
        batch: int = 16,
    ) -> "Animator":
        """An animator of a bundle folder or a loaded model; `batch` frames are made at a time.

        Faces are found by `analyzer`, else by the one that labelled the model's training data, with the same options.
        On a GPU it is the one that measures the same there.
        Raises IcfaceError when there is no bundle at that path, or that analyzer is another one here.
        """
        model = bundle if isinstance(bundle, ICface) else load_bundle(bundle)
        return cls(model, analyzer or analyzers.from_record(model.config.analyzer, str(device)), device, batch)

    @torch.inference_mode()
    def prepare(self, source: Picture, face: int = 0) -> Source:
        """Find the face in `source` (H, W, 3) uint8 RGB, crop it by the model's rule and bring it to neutral.

        `face`: which one, from 0, the largest first. Raises IcfaceError when there is none, or not so many.
        """
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            raise ValueError(f"a source must be (H, W, 3) uint8 RGB, not {source.shape} {source.dtype}")
        faces = self.analyzer.analyze(source[None], [0], "source")[0]
        if not faces:
            raise IcfaceError(
                f"no face is found in the source picture, which has {source.shape[1]} x {source.shape[0]} px; take one "
                "in which the whole face can be seen, at least 60 px high"
            )
        if not 0 <= face < len(faces):
            raise IcfaceError(
                f"the source picture has no face {face + 1}: it shows {len(faces)}, the largest is face 1"
            )
        chosen = faces[face]
        rule = CropRule.from_json(self.model.config.crop_rule)
        height, width = source.shape[:2]
        # A still has no neighbours to smooth over, so any frame rate does.
        square = rule.squares(chosen.box[None], fps=1.0, width=width, height=height)[0]
        crop = crop_image(source, square, self.model.size)
        attributes = chosen.values(self.model.schema.sided)
        own = np.array([[attributes.get(name, np.nan) for name in self.model.schema.names]], np.float32)
        change = self.model.config.model.neutraliser_input == "change"
        unknown = np.isnan(own[0]) & self.model.schema.trained & change
        return Source(
            crop=crop,
            attributes=attributes,
            neutral=neutralise(self.model, crop[None], own, self.device),
            left_alone=tuple(name for name, missing in zip(self.model.schema.names, unknown, strict=True) if missing),
            square=(float(square[0]), float(square[1]), float(square[2])),
            faces=len(faces),
        )

    def neutral(self, source: Picture | Source) -> Picture:
        """(S, S, 3) uint8 RGB: the neutral face, relaxed and looking straight ahead."""
        return to_pictures(self._prepared(source).neutral)[0]

    def animate(self, source: Picture | Source, attributes: pd.DataFrame) -> Iterator[Picture]:
        """The source face with the attributes of each row: yields (S, S, 3) uint8 RGB, one frame a row.

        `attributes`: raw units (radians, AU 0..5), columns named as in `icface.attributes`; `frame`, `timestamp` and
        `face` may stand beside them. A missing column keeps the source's own value, and NaN is the neutral value. What
        lies beyond the values of the training is clamped and counted in `clamped`, which is set at the call. A whole
        action unit drives both sides of a model that has sides (`icface.control.sides`).

        Raises IcfaceError, at the call, when no face is found in the source or a column is unknown.
        """
        prepared = self._prepared(source)
        return self._frames(prepared.neutral, self.encode(attributes, prepared.attributes))

    def encode(self, attributes: pd.DataFrame, own: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """(N, n) float32: the table as the networks are told, what is missing filled as `animate` does.

        Sets `clamped`. Raises IcfaceError when a column is unknown.
        """
        check_columns(attributes)
        schema = self.model.schema
        attributes = fit_sides(attributes, schema)
        raw = np.full((len(attributes), len(schema)), np.nan, np.float32)
        for index, name in enumerate(schema.names):
            raw[:, index] = (
                attributes[name].to_numpy(np.float32) if name in attributes.columns else own.get(name, np.nan)
            )
        raw, clamped = schema.clamp_to_seen(raw)
        encoded, _ = schema.encode(raw)
        self.clamped = {name: int(n) for name, n in zip(schema.names, clamped, strict=True) if n}
        return encoded

    def _frames(self, neutral: Tensor, encoded: npt.NDArray[np.float32]) -> Iterator[Picture]:
        faces = neutral.expand(self.batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for start in range(0, len(encoded), self.batch):
            rows = torch.from_numpy(encoded[start : start + self.batch]).to(self.device)
            yield from to_pictures(generate(self.model, faces[: len(rows)], rows))

    def _prepared(self, source: Picture | Source) -> Source:
        return source if isinstance(source, Source) else self.prepare(source)


@torch.inference_mode()
def neutralise(model: ICface, crops: Picture, attributes: npt.NDArray[np.float32], device: torch.device) -> Tensor:
    """Neutral faces (N, C, S, S) float32 in [-1, 1] of crops (N, S, S, 3) uint8 RGB (`ICface.neutralise`).

    `attributes` (N, n): the crops' own, raw, in the order of the model's schema; NaN, not measured, is left as it is.
    """
    own, _ = model.schema.encode(attributes)
    with _autocast(device):
        return model.neutralise(to_tensor(crops, device), torch.from_numpy(own).to(device)).float()


@torch.inference_mode()
def generate(model: ICface, neutral: Tensor, encoded: Tensor) -> Tensor:
    """Faces (N, 3, S, S) float32 in [-1, 1] from neutral ones and codes (N, n) in [0, 1], on one device."""
    with _autocast(neutral.device):
        return model.generator(neutral, encoded).float()


def to_tensor(pictures: Picture, device: torch.device | str = "cpu") -> Tensor:
    """(N, H, W, 3) uint8 as (N, 3, H, W) float32 in [-1, 1]."""
    return to_range(torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2))


def to_pictures(images: Tensor) -> Picture:
    """(N, 3, H, W) float in [-1, 1] as (N, H, W, 3) uint8, rounded; what lies outside is clamped.

    Of neutral faces, which may have more channels, the picture.

    >>> to_pictures(to_tensor(np.full((1, 2, 2, 3), 77, np.uint8))).ravel()[0]
    np.uint8(77)
    """
    return np.ascontiguousarray(to_bytes(images[:, :3]).permute(0, 2, 3, 1).cpu().numpy())


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU, where it is several times faster; float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
