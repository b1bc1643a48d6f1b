"""A trained model as a folder: `config.json`, `model.safetensors`, `README.md`. Nothing in it is pickled."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from icface.attributes import Attribute, AttributeSchema
from icface.errors import IcfaceError
from icface.files import follow_umask
from icface.mappings import read
from icface.networks.config import ModelConfig
from icface.networks.generators import AttributeGenerator, make_generator, make_neutraliser
from icface.words import counted

FORMAT = 1
"""Version of the bundle's layout."""


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """What `config.json` holds: all that is needed to use the model, and where it comes from."""

    model: ModelConfig
    """Architecture and size."""
    schema: AttributeSchema
    """The attributes in the order of the networks' input."""
    crop_rule: Mapping[str, Any] = field(default_factory=dict)
    """`icface.crop.CropRule` of the training pictures."""
    analyzer: Mapping[str, Any] = field(default_factory=dict)
    """Who labelled the training data: name, options and fingerprint (`icface.analyzers.record`)."""
    baselines: bool = False
    """Whether 0 is a person's own resting face, not the analyzer's: each track's baseline was taken off the labels."""
    licence: str = "unknown"
    """The most restrictive licence among the training data's and the starting model's."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the training: resolved config, steps, data set, counts."""

    @property
    def sources(self) -> list[str]:
        """Where what the model was made from came from: the data set's clips, the starting model's."""
        return list(self.training.get("sources", ()))

    def to_json(self) -> dict[str, Any]:
        """What `config.json` holds; `from_json` reads it."""
        return {
            "format": FORMAT,
            "model": asdict(self.model),
            "schema": self.schema.to_json(),
            "crop_rule": dict(self.crop_rule),
            "analyzer": dict(self.analyzer),
            "baselines": self.baselines,
            "licence": self.licence,
            "training": dict(self.training),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BundleConfig":
        """What `to_json` wrote. Raises IcfaceError when a field is missing or cannot be read."""
        if values.get("format") != FORMAT:
            raise IcfaceError(f"this bundle has format {values.get('format')!r}, and this icface reads format {FORMAT}")
        try:
            return cls(
                model=read(ModelConfig, values["model"], "model"),
                schema=AttributeSchema.from_json(values["schema"]),
                crop_rule=values["crop_rule"],
                analyzer=values["analyzer"],
                baselines=bool(values.get("baselines", False)),
                licence=values["licence"],
                training=values["training"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IcfaceError(f"this bundle's config.json cannot be read: {error}") from None


class ICface(nn.Module):
    """A neutraliser and a generator with what is needed to feed them."""

    _neutral: Tensor
    _trained: Tensor

    def __init__(self, config: BundleConfig) -> None:
        super().__init__()
        self.config = config
        self.neutraliser: AttributeGenerator = make_neutraliser(config.model, len(config.schema))
        self.generator: AttributeGenerator = make_generator(config.model, len(config.schema))
        neutral = torch.from_numpy(config.schema.neutral_encoded())
        self.register_buffer("_neutral", neutral, persistent=False)
        self.register_buffer("_trained", torch.from_numpy(config.schema.trained), persistent=False)

    @property
    def schema(self) -> AttributeSchema:
        """The attributes, as `config` has them."""
        return self.config.schema

    @property
    def size(self) -> int:
        """Width and height of the pictures, px."""
        return self.config.model.size

    def neutraliser_attributes(self, source: Tensor) -> Tensor:
        """What the neutraliser is told of pictures whose own attributes are `source`: both coded (B, n) in [0, 1].

        `source` holds the neutral code where nothing was measured, which asks for no change there. Every caller of
        the neutraliser goes through here (`ModelConfig.neutraliser_input`).
        """
        neutral = self._neutral.expand(len(source), -1)
        if self.config.model.neutraliser_input == "neutral":
            return neutral
        return (0.5 + (neutral - source) / 2).masked_fill(~self._trained, 0.5)

    def neutralise(self, image: Tensor, source: Tensor) -> Tensor:
        """Neutral faces of pictures (B, 3, S, S) in [-1, 1] whose own coded attributes are `source` (B, n).

        (B, C, S, S) as the generator takes them: the first three channels are the picture. There are no others unless
        the model is `layered` (`ModelConfig`).
        """
        told = self.neutraliser_attributes(source)
        if self.config.model.layered:
            return self.neutraliser(image, told, with_flow=True).layers(image)
        return self.neutraliser(image, told)

    def forward(self, image: Tensor, source: Tensor, attributes: Tensor) -> Tensor:
        """Neutralise, then animate: (B, 3, S, S) in [-1, 1], own and wanted coded (B, n) -> (B, 3, S, S)."""
        return self.generator(self.neutralise(image, source), attributes)

    @torch.no_grad()
    def silence_untrained(self) -> None:
        """Zero the input weights of every attribute that was not trained, so that the output does not depend on it."""
        for weight, untrained in self._untrained_weights():
            weight.masked_fill_(untrained, 0)

    def keep_untrained_silent(self) -> None:
        """Silence them, and let no gradient reach them.

        An attribute that nobody measured enters as its neutral code: a constant, whose weights would learn to be a
        bias that the bundle then lacks.
        """
        self.silence_untrained()
        for weight, untrained in self._untrained_weights():
            weight.register_hook(lambda gradient, untrained=untrained: gradient.masked_fill(untrained, 0))

    def _untrained_weights(self) -> list[tuple[Tensor, Tensor]]:
        """The weights that attributes meet first, each with a mask (1, m, 1, ...) of those of untrained attributes."""
        found = []
        for network in (self.neutraliser, self.generator):
            for weight, offset in network.attribute_weights():
                untrained = torch.zeros(1, weight.shape[1], *[1] * (weight.dim() - 2), dtype=torch.bool)
                for index, trained in enumerate(self.schema.trained):
                    untrained[:, offset + index] = not trained
                found.append((weight, untrained.to(weight.device)))
        return found


def save_bundle(model: ICface, path: str | os.PathLike[str]) -> None:
    """Write `model` as a bundle folder, whole or not at all; an older bundle there is replaced."""
    import safetensors.torch  # here and below: training alone needs only torch

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    model.silence_untrained()
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex[:12]}"
    partial.mkdir()
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        safetensors.torch.save_file(weights, partial / "model.safetensors")
        follow_umask(partial / "model.safetensors")
        (partial / "config.json").write_text(json.dumps(model.config.to_json(), indent=2) + "\n")
        (partial / "README.md").write_text(model_card(model))
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            os.replace(target, old / "old")
            os.replace(partial, target)
            shutil.rmtree(old)
        else:
            os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_bundle(path: str | os.PathLike[str]) -> ICface:
    """Read a bundle folder, or a registered model's folder that holds one under `artifacts`.

    The model is on the CPU in eval mode. Raises IcfaceError when there is no bundle or it does not fit.
    """
    import safetensors.torch

    folder = Path(path)
    # MLflow keeps the name of the folder that was registered.
    if not (folder / "config.json").exists():
        folder = next(iter(sorted((folder / "artifacts").glob("*/config.json"))), folder / "config.json").parent
    try:
        values = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise IcfaceError(f"{path} is not a model bundle: it has no config.json") from None
    except (NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        raise IcfaceError(f"{path} is not a model bundle: its config.json cannot be read") from None
    try:
        model = ICface(BundleConfig.from_json(values))
    except IcfaceError as error:
        raise IcfaceError(f"{path}: {error}") from None
    try:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
    except (OSError, safetensors.SafetensorError) as error:
        raise IcfaceError(f"{path} is not a whole model bundle: model.safetensors cannot be read ({error})") from None
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else None
        wanted = tuple(expected[name].shape) if name in expected else None
        if found != wanted:
            raise IcfaceError(
                f"{path}: the weights do not fit the bundle's own config.json at {name}: found {found}, wanted {wanted}"
            )
    model.load_state_dict(weights)
    return model.eval()


def _seen(attribute: Attribute) -> str:
    seen = attribute.seen
    if seen is None:
        return "–"
    return f"{seen.p01:.2f}, {seen.p50:.2f}, {seen.p99:.2f}; {seen.min:.2f} .. {seen.max:.2f}"


def model_card(model: ICface) -> str:
    """The bundle's README.md."""
    config = model.config
    rows = "\n".join(
        f"| {a.name} | {a.low:g} .. {a.high:g} {a.unit} | {a.neutral:g} | {a.measured_share:.0%} "
        f"| {_seen(a)} | {'yes' if a.trained else 'no'} |"
        for a in config.schema.attributes
    )
    facts = "\n".join(
        f"- {name}: {value}" for name, value in config.training.items() if not isinstance(value, dict | list)
    )
    mixed = "".join(
        f"\n- {entry['share']:.0%} of the pairs: {entry['name']}, {counted(entry['frames'], 'frame')} of "
        f"{counted(entry['identities'], 'person', 'people')}, labels by {entry['analyzer']}, licence {entry['licence']}"
        for entry in config.training.get("datasets", ())
    )
    return f"""# ICface model

A neutraliser and a generator ({config.model.architecture}, {model.size} px) that reenact one portrait from
{len(config.schema)} readable attributes, after Tripathy, Kannala and Rahtu, "ICface" (WACV 2020).

- licence: {config.licence}
- sources: {", ".join(config.sources) or "not recorded"}
- analyzer of the training data: {config.analyzer.get("fingerprint") or config.analyzer.get("name", "unknown")}
{facts}{mixed}

| attribute | range | neutral | measured on | seen: 1st, 50th, 99th percentile; smallest .. largest | can be set |
|---|---|---|---|---|---|
{rows}

Load it with `icface.bundle.load_bundle`; animate a portrait with `icface animate`. Pictures of people made with it
are synthetic: say so wherever they are shown, and ask the person portrayed.
"""
