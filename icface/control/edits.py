"""Editing single attributes: what `--set`, `--add` and `--scale` say, and doing it to a table."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd

from icface.attributes import POSE_NAMES, SIDE_NAMES, Attribute, AttributeSchema, unit_of
from icface.control.tables import DEGREES
from icface.errors import IcfaceError

Verb = Literal["set", "add", "scale"]


def parse_edits(entries: Iterable[str], schema: AttributeSchema, verb: Verb = "set") -> dict[str, float]:
    """What `--set`, `--add` or `--scale` name, as raw values by attribute.

    An entry is NAME=NUMBER. AUs are 0..5; `pitch`, `yaw`, `roll` are degrees and become radians. `set` takes a value of
    the attribute's range, `add` a difference within the range's width, `scale` a factor from 0 to 100. `set` and `add`
    take percent too. 100% is the way from neutral to the 99th percentile of the training data, and -100% of a pose the
    way to the 1st. An action unit that the schema has once for each side stands for both.

    Raises IcfaceError on an unknown or untrained attribute, a pose named as in files, or an attribute named twice. So
    it does for a number that is none or out of range.

    >>> edits = parse_edits(["AU12=1.5", "yaw=20"], AttributeSchema.default())
    >>> {name: round(value, 4) for name, value in edits.items()}
    {'AU12': 1.5, 'pose_yaw': 0.3491}
    """
    edits: dict[str, float] = {}
    for entry in entries:
        match = re.fullmatch(r"\s*([^=\s]+)\s*=\s*(\S+)\s*", entry)
        if not match:
            raise IcfaceError(f"--{verb} {entry!r} is not NAME=NUMBER, as in AU12=1.5, AU12=100% or yaw=20")
        name, number = match.groups()
        for attribute in _named(name, schema, entry, verb):
            if attribute.name in edits:
                raise IcfaceError(f"--{verb} names {name if name in edits else attribute.name} twice")
            percent = number.endswith("%") and verb != "scale"
            edits[attribute.name] = (_percent if percent else _number)(number, name, attribute, verb)
    return edits


def clamp_to_seen(edits: Mapping[str, float], schema: AttributeSchema) -> tuple[dict[str, float], list[str]]:
    """Values to `set`, raw, brought within what the training data showed, and a line for each that was not."""
    clamped, notices = {}, []
    for name, value in edits.items():
        seen = schema.attributes[schema.index(name)].seen
        clamped[name] = value if seen is None else seen.clamp(value)
        if clamped[name] != value:
            asked, used = shown(name, value), shown(name, clamped[name])
            end = "largest" if value > clamped[name] else "smallest"
            notices.append(f"{asked} is beyond the training data, whose {end} is {used}: {used} is used")
    return clamped, notices


def shown(name: str, value: float) -> str:
    """A raw value as the command line writes it.

    >>> shown("AU12", 1.84159), shown("pose_yaw", 0.5)
    ('AU12=1.84', 'yaw=28.6')
    """
    if name in POSE_NAMES:
        return f"{name.removeprefix('pose_')}={math.degrees(value):.1f}"
    return f"{name}={value:.3g}"


def apply_edits(
    table: pd.DataFrame,
    schema: AttributeSchema,
    own: Mapping[str, float],
    *,
    scale: Mapping[str, float] | None = None,
    add: Mapping[str, float] | None = None,
    set: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The table after scaling, then adding, then setting attributes in every row; values are raw.

    `scale` multiplies the distance from the neutral value. An attribute without a column starts from `own`, the
    source face's values; one that was not measured starts from its neutral value. Results may leave the range
    and what the training showed: they are clamped, and counted, by the Animator.

    Raises IcfaceError when an edited attribute is unknown or was not trained.
    """
    scale, add, set = scale or {}, add or {}, set or {}
    schema.check_trained([*scale, *add, *set])
    edited = {}
    for name in dict.fromkeys([*scale, *add, *set]):
        neutral = schema.attributes[schema.index(name)].neutral
        there = name in table.columns
        values = table[name].to_numpy(np.float64) if there else np.full(len(table), own.get(name, np.nan))
        values = np.where(np.isnan(values), neutral, values)
        values = neutral + (values - neutral) * scale.get(name, 1.0) + add.get(name, 0.0)
        if name in set:
            values = np.full(len(table), set[name])
        edited[name] = values.astype(np.float32)
    return table.assign(**edited)


def complete(table: pd.DataFrame, schema: AttributeSchema, own: Mapping[str, float]) -> pd.DataFrame:
    """The table with a column for every attribute of the schema, as a film follows it.

    A missing column becomes the source's own value, what is not measured the neutral one. Columns that are no
    attributes stay in front.
    """
    result = table[[name for name in table.columns if name not in schema.names]].copy()
    for attribute in schema.attributes:
        name = attribute.name
        values = table[name] if name in table.columns else pd.Series(own.get(name, np.nan), index=table.index)
        result[name] = values.astype(np.float32).fillna(attribute.neutral)
    return result


def _named(name: str, schema: AttributeSchema, entry: str, verb: Verb) -> list[Attribute]:
    """The attributes that an entry is about."""
    if name in POSE_NAMES:
        short = name.removeprefix("pose_")
        raise IcfaceError(
            f"--{verb} {entry}: {name} is the name for radians, used in files; here write {short} in degrees, "
            f"as in {short}=10"
        )
    meant = schema.meant_by(DEGREES.get(name, name))
    if not meant and name in SIDE_NAMES:
        raise IcfaceError(
            f"--{verb} {entry}: this model does not tell left from right: write {unit_of(name)}, which moves both, or "
            "train one with --data.sides"
        )
    if not meant:
        known = [*DEGREES, *(n for n in schema.names if n not in POSE_NAMES)]
        raise IcfaceError(f"--{verb} {entry}: unknown attribute {name!r}; known are {', '.join(known)}")
    try:
        schema.check_trained(meant)
    except IcfaceError as error:
        # On the command line the pose has other names.
        line = str(error)
        for short, long in DEGREES.items():
            line = line.replace(long, short)
        raise IcfaceError(f"--{verb} {entry}: {line}") from None
    return [schema.attributes[schema.index(each)] for each in meant]


def _number(text: str, name: str, attribute: Attribute, verb: Verb) -> float:
    try:
        value = float(text)
    except ValueError:
        raise IcfaceError(f"--{verb} {name}={text}: {text!r} is not a number") from None
    unit = math.degrees(1) if name in DEGREES else 1.0
    width = attribute.high - attribute.low
    low, high = {
        "set": (attribute.low * unit, attribute.high * unit),
        "add": (-width * unit, width * unit),
        "scale": (0.0, 100.0),
    }[verb]
    if not low <= value <= high:  # a NaN fails it too
        ending = " degrees" if name in DEGREES and verb != "scale" else ""
        raise IcfaceError(f"--{verb} {name}={text}: must lie in {_inwards(low):g}..{_inwards(high):g}{ending}")
    return value if verb == "scale" else value / unit


def _percent(text: str, name: str, attribute: Attribute, verb: Verb) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        raise IcfaceError(f"--{verb} {name}={text}: {text!r} is not a number") from None
    seen = attribute.seen
    if seen is None:
        raise IcfaceError(f"--{verb} {name}={text}: this model does not say which values it has seen; give a number")
    lowest = -100 if attribute.name in POSE_NAMES or verb == "add" else 0
    if not lowest <= 100 * share <= 100:
        raise IcfaceError(f"--{verb} {name}={text}: must lie in {lowest}%..100%")
    full = seen.p99 - attribute.neutral
    if share < 0 and attribute.name in POSE_NAMES:
        full = attribute.neutral - seen.p01
    return (attribute.neutral if verb == "set" else 0.0) + share * full


def _inwards(bound: float) -> float:
    """A bound to one decimal that is still inside it: 40.1 of 40.107."""
    return math.copysign(math.floor(abs(bound) * 10 + 1e-9) / 10, bound)
