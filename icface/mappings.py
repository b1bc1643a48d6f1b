"""Nested mappings (YAML, JSON, flat options) into dataclasses: one place that checks names, types and values."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from icface.errors import IcfaceError, first_line

T = TypeVar("T")

WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    Mapping: "fields",
}


def read(kind: type[T], values: object, place: str = "") -> T:
    """The dataclass `kind` with the fields that `values`, a mapping as YAML and JSON have them, holds.

    `place` is the name of the mapping in messages. Raises ValueError that names the first field that is unknown,
    missing, of another type, or refused by its class.

    >>> from icface.networks.config import ModelConfig
    >>> read(ModelConfig, {"size": 64}).size
    64
    >>> read(ModelConfig, {"size": "large"}, "model")
    Traceback (most recent call last):
    ValueError: model.size must be a whole number, not 'large'
    """
    described: Any = kind
    found = _fields(described, values, place, {})
    for item in fields(described):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in found:
            raise ValueError(f"{_name(place, item.name)} is missing")
    return kind(**found)


def read_flat(kind: type[T], values: object, place: str = "") -> T:
    """The dataclass `kind` of the fields of it and of the dataclasses in it, all on one level.

    `place` is the name of the mapping in messages. Raises ValueError as `read` does.

    >>> from icface.training.config import TrainConfig
    >>> read_flat(TrainConfig, {"steps": 3, "gan": "hinge"}).loss.gan
    'hinge'
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{place or 'this'} must hold fields, not {values!r}")
    known = [item.name for _, item in flat_fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field {_name(place, name)}; known here are {', '.join(known)}")
    parts = {
        name: read(part, {item.name: values[item.name] for item in fields(part) if item.name in values}, place)
        for name, part in _parts(kind).items()
    }
    own = {item.name: values[item.name] for home, item in flat_fields(kind) if home is kind and item.name in values}
    return read(kind, own | parts, place)


def flattened(config: Any) -> dict[str, Any]:
    """The fields of a dataclass and of the dataclasses in it on one level, as `read_flat` reads them.

    >>> from icface.training.config import TrainConfig
    >>> flattened(TrainConfig())["gan"]
    'lsgan'
    """
    parts = [config, *(getattr(config, name) for name in _parts(type(config)))]
    holders = {type(part): part for part in parts}
    return {item.name: getattr(holders[home], item.name) for home, item in flat_fields(type(config))}


def flat_fields(kind: Any) -> Iterator[tuple[type, Field[Any]]]:
    """The fields of a dataclass, with those of a dataclass in their place; each with the class that has it."""
    parts = _parts(kind)
    for item in fields(kind):
        if item.name in parts:
            yield from ((parts[item.name], inner) for inner in fields(parts[item.name]))
        else:
            yield kind, item


def _parts(kind: Any) -> dict[str, Any]:
    """The fields that are dataclasses themselves, each with its class."""
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind) if is_dataclass(hints[item.name])}


def merge(config: T, values: object, place: str = "") -> T:
    """The dataclass `config` with some fields replaced, nested as `values` is. Raises as `read` does.

    >>> from icface.networks.config import ModelConfig
    >>> merge(ModelConfig(size=64), {"width": 32})  == ModelConfig(size=64, width=32)
    True
    """
    described: Any = config
    known = {item.name: getattr(config, item.name) for item in fields(described)}
    changed: T = replace(described, **_fields(type(described), values, place, known))
    return changed


def read_yaml(path: str, example: str) -> dict[str, Any]:
    """The fields of a YAML file. Raises IcfaceError when it cannot be read or holds none, as in `example`."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise IcfaceError(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(values, dict):
        raise IcfaceError(f"{path} must hold fields, as in `{example}`")
    return values


def _fields(kind: Any, values: object, place: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The values, checked; what `known` holds as a dataclass is merged with."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{place or 'this'} must hold fields, not {values!r}")
    names = [item.name for item in fields(kind)]
    hints = get_type_hints(kind)
    found = {}
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"unknown field {_name(place, name)}; known here are {', '.join(names) or 'none'}")
        whole = _name(place, name)
        if is_dataclass(known.get(name)) and not is_dataclass(value):
            found[name] = merge(known[name], value, whole)
        else:
            found[name] = _checked(value, hints[name], whole)
    return found


def _checked(value: Any, hint: Any, name: str) -> Any:
    """The value as a field of type `hint` holds it."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return value
    if kind is Literal:
        if value not in parts:
            raise ValueError(f"{name} must be one of {', '.join(map(str, parts))}, not {value!r}")
        return value
    if kind in (Union, UnionType):
        if value is None and NoneType in parts:
            return None
        (other,) = (part for part in parts if part is not NoneType)
        return _checked(value, other, name)
    if is_dataclass(kind):
        return value if isinstance(value, kind) else read(kind, value, name)  # type: ignore[arg-type]
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(_checked(item, parts[0], f"{name}[{place}]") for place, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} must be {WORDS.get(kind, kind.__name__)}, not {value!r}")
    return value


def _name(place: str, field: object) -> str:
    return f"{place}.{field}" if place else str(field)
