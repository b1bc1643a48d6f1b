"""Beginning a training with another model's weights (`--init-from`).

A bundle holds no discriminator: D and its heads start from random weights. They learn alone for the first steps
(`optimiser.warmup`), or their noise would undo what the generators know.
"""

from dataclasses import replace

import torch

from icface.attributes import SIDES, Attribute, AttributeSchema, unit_of
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.licences import most_restrictive
from icface.networks.config import ModelConfig
from icface.networks.warp import WarpGenerator

SAME = (
    "architecture",
    "size",
    "width",
    "blocks",
    "encoder",
    "attribute_gain",
    "neutraliser_input",
    "painting",
    "flow_basis",
)
"""Fields of `ModelConfig` in which the two must agree. The others concern the discriminator, the training, and
`pixels_from`, which no weight depends on."""


def init_schema(data: AttributeSchema, start: AttributeSchema) -> tuple[AttributeSchema, list[str]]:
    """The data set's attributes coded as the starting model codes them, and what changes, a line an attribute.

    Ranges and neutral values are the starting model's: its weights mean nothing on another scale. What is measured
    and trained is the data set's matter.
    """
    known = {attribute.name: attribute for attribute in start.attributes}
    lost, attributes, changes = set(known), [], []
    for attribute in data.attributes:
        old = known.get(attribute.name) or known.get(unit_of(attribute.name))
        lost -= {attribute.name, unit_of(attribute.name)}
        if old is not None:
            kept = replace(attribute, unit=old.unit, low=old.low, high=old.high, neutral=old.neutral)
            attributes.append(kept)
        else:
            attributes.append(attribute)
        changes += _change(attribute, old)
    changes += [f"{name}: not in this data set; the model loses it" for name in known if name in lost]
    return AttributeSchema(tuple(attributes)), changes


def inherited(config: BundleConfig, start: BundleConfig) -> BundleConfig:
    """`config` of a model that began with the weights of `start`: with the more binding licence, and both's sources."""
    return replace(
        config,
        licence=most_restrictive(config.licence, start.licence),
        training={**config.training, "sources": list(dict.fromkeys([*config.sources, *start.sources]))},
    )


def _change(new: Attribute, old: Attribute | None) -> list[str]:
    if old is None:
        return [f"{new.name}: new; its weights begin at zero"]
    lines = []
    if new.name != old.name:
        lines.append(f"{new.name}: one side of {old.name}; its weights begin as half of that one's")
    if old.trained and not new.trained:
        lines.append(f"{new.name}: measured on {new.measured_share:.0%} of this data set; it cannot be set any longer")
    if new.trained and not old.trained:
        lines.append(f"{new.name}: was not trained; its weights begin at zero")
    if (old.low, old.high, old.neutral) != (new.low, new.high, new.neutral):
        lines.append(
            f"{new.name}: coded {old.low:g}..{old.high:g} {old.unit} (neutral {old.neutral:g}) as the starting model "
            f"does, not {new.low:g}..{new.high:g} {new.unit} (neutral {new.neutral:g})"
        )
    return lines


def check_fits(config: ModelConfig, start: ICface) -> None:
    """Raise IcfaceError naming the fields of `config` in which the networks differ from those of `start`."""
    theirs = start.config.model
    differing = [name for name in SAME if getattr(config, name) != getattr(theirs, name)]
    if differing:
        facts = ", ".join(f"{name} {getattr(theirs, name)} (here {getattr(config, name)})" for name in differing)
        options = " ".join(_option(name, getattr(theirs, name)) for name in differing)
        raise IcfaceError(f"the starting model has {facts}: its weights do not fit; train with {options}")


def _option(name: str, value: object) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--model.{option}" if value else f"--model.no-{option}"
    return f"--model.{option} {value}"


@torch.no_grad()
def init_from(model: ICface, start: ICface) -> None:
    """Give `model` the weights of `start`; attributes are matched by name, those that are new begin at zero.

    Each side of an action unit that `start` has undivided begins with half of its weights: both together do the same.
    Raises IcfaceError as `check_fits` does.
    """
    check_fits(model.config.model, start)
    places = {name: index for index, name in enumerate(start.schema.names)}
    for network, source in ((model.neutraliser, start.neutraliser), (model.generator, start.generator)):
        steered = network.attribute_weights()
        own = {id(weight) for weight, _ in steered}
        # What is read off the picture is added to each attribute, so each side gets all of it.
        basis = network.basis if isinstance(network, WarpGenerator) else None
        added = id(basis.read) if basis is not None else None
        weights = source.state_dict()
        for name, tensor in network.state_dict(keep_vars=True).items():
            if id(tensor) not in own:
                tensor.copy_(weights[name])
        for (weight, offset), (old, _) in zip(steered, source.attribute_weights(), strict=True):
            weight[:, :offset] = old[:, :offset]
            for index, name in enumerate(model.schema.names):
                if name in places:
                    weight[:, offset + index] = old[:, offset + places[name]]
                elif unit_of(name) in places:
                    shares = 1 if id(weight) == added else len(SIDES)
                    weight[:, offset + index] = old[:, offset + places[unit_of(name)]] / shares
                else:
                    weight[:, offset + index] = 0
