"""The 20 numbers that steer a face: names, units, ranges, neutral values and their coding to [0, 1].

Pose follows OpenFace 2 (`pose_Rx`, `pose_Ry`, `pose_Rz`, radians, same axes and signs); action units follow
FACS with OpenFace's intensities (`AUxx_r`, 0..5). Every part of the project that names an attribute, stores
one or feeds one to a network does it through `AttributeSchema`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.arrays import Array
from icface.errors import IcfaceError
from icface.mappings import read

POSE_NAMES = ("pose_pitch", "pose_yaw", "pose_roll")
ACTION_UNIT_NAMES = tuple(f"AU{number:02d}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
ATTRIBUTE_NAMES = POSE_NAMES + ACTION_UNIT_NAMES
POSE_RANGE = 0.7
"""Radians coded to [0, 1] on either side of straight ahead: 40.1 degrees (the updated release's range)."""
REGIONS = {
    "pose": POSE_NAMES,
    "brows": ("AU01", "AU02", "AU04"),
    "eyes": ("AU05", "AU06", "AU07", "AU45"),
    "nose": ("AU09",),
    "mouth": ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26"),
}
"""Region of the face: the attributes that belong to it, all 20 once (FACS's upper face is brows and eyes)."""
SIDED_UNITS = ("AU02", "AU04", "AU05", "AU06", "AU07", "AU10", "AU12", "AU45")
"""Action units that a schema may have once for each side of the face: a wink, half a smile."""
SIDES = ("L", "R")
"""What is added to the name of an action unit: the person's own left and right."""
SIDE_NAMES = tuple(unit + side for unit in SIDED_UNITS for side in SIDES)
LABEL_NAMES = ATTRIBUTE_NAMES + SIDE_NAMES
"""Everything that can be measured, in the order of arrays of labels: the 20, and the sides behind them where an array
has them (`label_names`)."""
AU_RANGE = 5.0
"""Highest action unit intensity (FACS grade E; OpenFace's scale)."""
TRAINED_FROM_SHARE = 0.05
"""An attribute measured on a smaller share of the training frames than this is left out of training."""


def unit_of(name: str) -> str:
    """The attribute that a side belongs to; any other name is its own.

    >>> unit_of("AU12L"), unit_of("AU12"), unit_of("pose_roll")
    ('AU12', 'AU12', 'pose_roll')
    """
    return name[:-1] if name in SIDE_NAMES else name


def sides_of(unit: str) -> tuple[str, ...]:
    """Names of the two sides of an action unit; none where it has no sides.

    >>> sides_of("AU12"), sides_of("AU26")
    (('AU12L', 'AU12R'), ())
    """
    return tuple(unit + side for side in SIDES) if unit in SIDED_UNITS else ()


def label_names(sides: bool) -> tuple[str, ...]:
    """Names of the columns of an array of labels: the 20, or with `sides` all of `LABEL_NAMES`."""
    return LABEL_NAMES if sides else ATTRIBUTE_NAMES


def columns_of(units: Iterable[str], sides: bool) -> list[int]:
    """Columns of an array of labels that belong to some attributes, those of their sides too.

    >>> columns_of(["AU02"], sides=False), columns_of(["AU02"], sides=True)
    ([4], [4, 20, 21])
    """
    chosen = set(units)
    return [column for column, name in enumerate(label_names(sides)) if unit_of(name) in chosen]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Which values of an attribute occur in training frames, raw."""

    min: float
    p01: float
    """1st percentile."""
    p50: float
    p99: float
    """99th percentile: 100 % on the command line."""
    max: float

    def __post_init__(self) -> None:
        values = astuple(self)
        if not all(a <= b for a, b in pairwise(values)):
            raise ValueError(f"the values of seen must not fall: {', '.join(f'{value:g}' for value in values)}")

    def clamp(self, value: float) -> float:
        """`value`, no smaller than `min` and no larger than `max`."""
        return min(max(value, self.min), self.max)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One controllable number."""

    name: str
    unit: str
    """`rad` or `intensity`."""
    low: float
    """Raw value coded to 0."""
    high: float
    """Raw value coded to 1."""
    neutral: float
    """Raw value of a relaxed face looking straight ahead."""
    measured_share: float = 1.0
    """Share of the training frames on which the analyzer measured it, 0..1."""
    trained: bool = True
    """Whether a model learned it; an untrained attribute cannot be set."""
    seen: Seen | None = None
    """Which values the training frames show; None where nobody counted, or nothing was measured."""
    region: str = ""
    """Part of the face (`REGIONS`); left empty, the one that the name belongs to, `other` for a name in none."""

    def __post_init__(self) -> None:
        if not self.region:
            known = (region for region, names in REGIONS.items() if unit_of(self.name) in names)
            object.__setattr__(self, "region", next(known, "other"))
        if not self.low < self.high:
            raise ValueError(f"attribute {self.name}: low {self.low} must be below high {self.high}")
        if not self.low <= self.neutral <= self.high:
            raise ValueError(f"attribute {self.name}: neutral {self.neutral} lies outside {self.low}..{self.high}")
        if not 0 <= self.measured_share <= 1:
            raise ValueError(f"attribute {self.name}: measured_share {self.measured_share} lies outside 0..1")

    @property
    def neutral_encoded(self) -> float:
        """The neutral value coded to [0, 1]."""
        return (self.neutral - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class AttributeSchema:
    """An ordered set of attributes and their coding.

    >>> schema = AttributeSchema.default()
    >>> len(schema), schema.names[:4]
    (20, ('pose_pitch', 'pose_yaw', 'pose_roll', 'AU01'))
    >>> coded, clamped = schema.encode(schema.neutral()[None])
    >>> coded[0, :4].tolist(), int(clamped.sum())
    ([0.5, 0.5, 0.5, 0.0], 0)
    """

    attributes: tuple[Attribute, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"attribute names are not unique: {', '.join(self.names)}")

    @classmethod
    def default(cls, pose_range: float = POSE_RANGE, sides: bool = False) -> "AttributeSchema":
        """The 20 attributes of the paper; `pose_range` is 0.7 rad (updated release) or 0.5 rad (code of 2019).

        With `sides` the two sides of each of `SIDED_UNITS` stand in its place: 28 attributes.

        >>> AttributeSchema.default(sides=True).names[3:7]
        ('AU01', 'AU02L', 'AU02R', 'AU04L')
        """
        pose = [Attribute(name=name, unit="rad", low=-pose_range, high=pose_range, neutral=0.0) for name in POSE_NAMES]
        names = [name for unit in ACTION_UNIT_NAMES for name in (sides and sides_of(unit)) or (unit,)]
        units = [Attribute(name=name, unit="intensity", low=0.0, high=AU_RANGE, neutral=0.0) for name in names]
        return cls(tuple(pose + units))

    def __len__(self) -> int:
        return len(self.attributes)

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' names, in the order of the columns."""
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def sided(self) -> bool:
        """Whether some action unit is there once for each side."""
        return any(name in SIDE_NAMES for name in self.names)

    def meant_by(self, name: str) -> tuple[str, ...]:
        """The attributes that `name` stands for: itself, or both sides of an action unit that has them here.

        Empty where there is neither.

        >>> AttributeSchema.default(sides=True).meant_by("AU12"), AttributeSchema.default().meant_by("AU12L")
        (('AU12L', 'AU12R'), ())
        """
        names = self.names
        if name in names:
            return (name,)
        return tuple(side for side in sides_of(name) if side in names)

    @property
    def trained(self) -> npt.NDArray[np.bool_]:
        """(n,) bool: which attributes a model has learned."""
        return np.array([attribute.trained for attribute in self.attributes])

    def index(self, name: str) -> int:
        """Position of an attribute.

        Raises IcfaceError naming the known attributes when `name` is not one of them.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise IcfaceError(f"unknown attribute {name!r}; known are {', '.join(self.names)}") from None

    def neutral(self) -> Array:
        """(n,) float32: raw values of the neutral face."""
        return np.array([attribute.neutral for attribute in self.attributes], np.float32)

    def neutral_encoded(self) -> Array:
        """(n,) float32: the neutral face coded to [0, 1]."""
        return np.array([attribute.neutral_encoded for attribute in self.attributes], np.float32)

    def encode(self, raw: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.int64]]:
        """Code raw values (N, n) to [0, 1].

        A null (NaN) becomes the neutral code. Values outside the raw range are clamped, since a sigmoid head
        cannot match them. Returns the coded values (N, n) float32 and, per attribute, how many were clamped (n,).
        """
        values = np.asarray(raw, np.float32)
        low, high = self._bounds()
        coded = (values - low) / (high - low)
        with np.errstate(invalid="ignore"):
            clamped = ((coded < 0) | (coded > 1)).sum(axis=0)
        coded = np.where(np.isnan(coded), self.neutral_encoded(), np.clip(coded, 0, 1))
        return coded.astype(np.float32), clamped

    def decode(self, coded: npt.ArrayLike) -> Array:
        """Raw values (N, n) float32 of coded ones."""
        low, high = self._bounds()
        return (np.asarray(coded, np.float32) * (high - low) + low).astype(np.float32)

    def measured(self, raw: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """(N, n) bool: which raw values are there (not NaN)."""
        return ~np.isnan(np.asarray(raw, np.float32))

    def with_measured_shares(self, shares: Mapping[str, float]) -> "AttributeSchema":
        """This schema for a data set in which each attribute was measured on `shares[name]` of the frames.

        An attribute below `TRAINED_FROM_SHARE` is marked untrained.
        """
        return AttributeSchema(
            tuple(
                replace(a, measured_share=shares[a.name], trained=shares[a.name] >= TRAINED_FROM_SHARE)
                for a in self.attributes
            )
        )

    def with_seen(self, seen: Mapping[str, Seen]) -> "AttributeSchema":
        """This schema with the values that occur; an attribute that `seen` lacks has none."""
        return AttributeSchema(tuple(replace(a, seen=seen.get(a.name)) for a in self.attributes))

    def clamp_to_seen(self, raw: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.int64]]:
        """Raw values (N, n) brought within what the training frames show, or the range where nobody counted.

        NaN stays. Second, (n,) how many values of each attribute were moved.
        """
        values = np.asarray(raw, np.float32)
        low = np.array([a.low if a.seen is None else a.seen.min for a in self.attributes], np.float32)
        high = np.array([a.high if a.seen is None else a.seen.max for a in self.attributes], np.float32)
        with np.errstate(invalid="ignore"):
            moved = ((values < low) | (values > high)).sum(axis=0)
        return np.clip(values, low, high), moved

    def check_trained(self, names: Iterable[str]) -> None:
        """Raise IcfaceError when one of `names` is unknown or was not trained."""
        for name in names:
            attribute = self.attributes[self.index(name)]
            if not attribute.trained:
                raise IcfaceError(
                    f"{name} cannot be set: this model was trained on data whose analyzer measured it on "
                    f"{attribute.measured_share:.0%} of the frames; it can set "
                    f"{', '.join(a.name for a in self.attributes if a.trained)}"
                )

    def to_json(self) -> list[dict[str, Any]]:
        """A list of plain dicts, one an attribute, that `from_json` reads."""
        return [asdict(attribute) for attribute in self.attributes]

    @classmethod
    def from_json(cls, entries: Iterable[Mapping[str, Any]]) -> "AttributeSchema":
        """The schema that `to_json` wrote. Raises IcfaceError on unknown or missing fields."""
        try:
            return cls(tuple(read(Attribute, entry) for entry in entries))
        except (TypeError, ValueError) as error:
            raise IcfaceError(f"this attribute schema cannot be read: {error}") from None

    def _bounds(self) -> tuple[Array, Array]:
        low = np.array([attribute.low for attribute in self.attributes], np.float32)
        high = np.array([attribute.high for attribute in self.attributes], np.float32)
        return low, high
