"""Who is rendered: everything about a synthetic person that does not move, drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.synthetic.head import load_head

HAIR_STYLES = ("bald", "buzz", "short", "swept", "fringe", "afro", "bob", "long", "bun")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
Colour = tuple[float, float, float]
"""Red, green, blue, 0..1, as a screen shows them (sRGB)."""

SKINS: tuple[Colour, ...] = (
    (0.95, 0.80, 0.72), (0.90, 0.72, 0.61), (0.84, 0.64, 0.50), (0.73, 0.53, 0.39), (0.56, 0.38, 0.27),
    (0.40, 0.26, 0.19), (0.29, 0.19, 0.15),
)  # fmt: skip
"""From light to dark."""
SKIN_RANGES = ((0.5, 1.0), (0.1, 0.5), (0.0, 0.45))
"""Place in `SKINS`, 0..1, of people of African, Asian and European descent."""
IRISES: tuple[Colour, ...] = (
    (0.20, 0.11, 0.06), (0.30, 0.18, 0.09), (0.42, 0.29, 0.14), (0.38, 0.42, 0.25), (0.33, 0.46, 0.52),
    (0.42, 0.54, 0.66),
)  # fmt: skip
"""From dark brown to light blue."""
HAIRS: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05), (0.13, 0.09, 0.07), (0.24, 0.15, 0.09), (0.38, 0.24, 0.13), (0.62, 0.45, 0.26),
    (0.50, 0.22, 0.10),
)  # fmt: skip
"""Black to blond, and red."""
GREY: Colour = (0.72, 0.71, 0.70)
CLOTHES: tuple[Colour, ...] = (
    (0.12, 0.14, 0.20), (0.75, 0.76, 0.78), (0.35, 0.12, 0.14), (0.20, 0.33, 0.27), (0.25, 0.35, 0.55),
    (0.62, 0.52, 0.38), (0.10, 0.10, 0.10), (0.55, 0.30, 0.45),
)  # fmt: skip

SHAPE_FOLDERS = ("head", "eyes", "mouth", "nose", "chin", "cheek", "ears", "forehead")
LEFT_OUT = (
    "-trans-",
    "head-age",
    "head-angle",
    "head-fat",
    "head-scale",
    "eye-push",
    "scale-depth",
    "pointed",
    "triangle",
)
"""Targets that would move the head as a whole, pull the lids off the eyes, or make nobody one meets."""
STRENGTHS = {"head": 0.35, "ears": 0.4, "eyes": 0.35, "mouth": 0.4}
"""Largest weight of a target by folder; `STRENGTH` elsewhere."""
STRENGTH = 0.5
ASYMMETRIES, ASYMMETRY = 6, 0.4
"""Number and largest weight of uneven targets."""


@dataclass(frozen=True, kw_only=True)
class Light:
    """How a person is lit: a lamp and the room."""

    direction: tuple[float, float, float]
    """Unit vector towards the lamp, in the head's coordinates when it looks straight ahead."""
    strength: float
    """Of the lamp, beside `ambient`."""
    colour: Colour
    ambient: float
    """Light from everywhere."""
    above: float
    """How much more of that comes from above than from below, 0..1."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """A synthetic person."""

    seed: tuple[int, ...]
    """Of the noise in skin, hair and background."""
    shape: tuple[tuple[str, float], ...]
    """Targets of `Head` and their weights."""
    sex: float
    """0 female, 1 male."""
    age: float
    """0 young, 1 old."""
    skin: Colour
    redness: float
    freckles: float
    lips: Colour
    iris: Colour
    hair: Colour
    brows: Colour
    brow_height: float
    """Moved upwards, decimetres."""
    brow_thickness: float
    """Half of it, decimetres."""
    lids: float
    """Make-up on lids and lashes, 0..1."""
    hair_style: str
    beard: str
    glasses: bool
    clothes: Colour
    neckline: float
    """How deep the collar is in front, 0..1."""
    light: Light
    background: tuple[Colour, Colour]
    """Its colours on the left and on the right."""
    distance: float
    """Of the camera, decimetres."""
    noise: float
    """Deviation of the camera's noise, of 255."""


def draw_person(*seed: int) -> Person:
    """The person of a seed, which may be several numbers: of a data set and of the person in it.

    >>> draw_person(1, 2) == draw_person(1, 2), draw_person(1, 2) == draw_person(1, 3)
    (True, False)
    """
    rng = np.random.default_rng(seed)
    descent = rng.dirichlet((0.5, 0.5, 0.5))
    sex = float(np.clip(rng.normal(rng.integers(2), 0.12), 0, 1))
    age = float(rng.beta(1.2, 2.0))
    low, high = (float(descent @ np.array([pair[end] for pair in SKIN_RANGES])) for end in (0, 1))
    tone = float(rng.uniform(low, high))
    skin = _between(SKINS, tone)
    light_haired = float(descent[2])
    hair = _between(HAIRS[:5], float(rng.beta(1, 2)) * light_haired)
    if rng.random() < 0.12 * light_haired:
        hair = HAIRS[5]
    brows = _mix(hair, (0.05, 0.04, 0.04), float(rng.uniform(0.3, 0.7)))
    hair = _mix(hair, GREY, float(np.clip(rng.normal(age * 1.4 - 0.6, 0.25), 0, 1)))
    make_up = float(rng.random() < 0.5) * float(rng.uniform(0.2, 0.9)) * (1 - sex)
    lips = _mix(_mix(skin, (0.55, 0.22, 0.22), 0.45), (0.62, 0.10, 0.16), 0.6 * make_up)
    return Person(
        seed=tuple(seed),
        shape=_shape(rng, descent, sex, age),
        sex=sex,
        age=age,
        skin=skin,
        redness=float(rng.uniform(0.1, 0.5)),
        freckles=float(rng.random() < 0.2) * float(rng.uniform(0.3, 1)) * (1 - tone),
        lips=lips,
        iris=_between(IRISES, float(rng.uniform()) * light_haired),
        hair=hair,
        brows=_mix(brows, GREY, 0.4 * max(0.0, age - 0.6)),
        brow_height=float(rng.normal(0, 0.01)),
        brow_thickness=float(rng.uniform(0.028, 0.04) + 0.01 * sex),
        lids=make_up,
        hair_style=_hair_style(rng, sex, age),
        beard=str(rng.choice(BEARDS, p=(0.5, 0.2, 0.08, 0.08, 0.14))) if sex > 0.5 else "none",
        glasses=bool(rng.random() < 0.2),
        clothes=CLOTHES[rng.integers(len(CLOTHES))],
        neckline=float(rng.uniform(0.2, 1.0)),
        light=_light(rng),
        background=(_room(rng), _room(rng)),
        distance=float(rng.uniform(8, 20)),
        noise=float(rng.uniform(0.5, 2.5)),
    )


def _shape(
    rng: np.random.Generator, descent: npt.NDArray[np.float64], sex: float, age: float
) -> tuple[tuple[str, float], ...]:
    """Descent, sex, age and weight blended, then a few targets of each part of the face and a little unevenness."""
    weights: dict[str, float] = {}
    heavy = float(np.clip(rng.normal(0.5, 0.22), 0, 1))
    weight_shares = {"minweight": max(0, 1 - 2 * heavy), "maxweight": max(0, 2 * heavy - 1)}
    weight_shares["averageweight"] = 1 - sum(weight_shares.values())
    for sex_name, sex_share in (("female", 1 - sex), ("male", sex)):
        for age_name, age_share in (("young", 1 - age), ("old", age)):
            for race, race_share in zip(("african", "asian", "caucasian"), descent, strict=True):
                weights[f"macro/{race}-{sex_name}-{age_name}"] = float(race_share) * sex_share * age_share
            for name, share in weight_shares.items():
                macro = f"macro/universal-{sex_name}-{age_name}-averagemuscle-{name}"
                weights[macro] = sex_share * age_share * share
    head = load_head()
    for folder in SHAPE_FOLDERS:
        pairs = _pairs([name for name in head.names(folder) if not any(word in name for word in LEFT_OUT)])
        for number in rng.choice(len(pairs), min(len(pairs), 5), replace=False):
            pair = pairs[number]
            strength = float(rng.uniform(0, STRENGTHS.get(folder, STRENGTH)))
            weights |= dict.fromkeys(pair[rng.integers(len(pair))], strength)
    uneven = head.names("asym")
    for number in rng.choice(len(uneven), ASYMMETRIES, replace=False):
        weights[uneven[number]] = float(rng.uniform(0, ASYMMETRY))
    return tuple((name, weight) for name, weight in weights.items() if weight)


def _pairs(names: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """Targets that go together: both sides of the face at once, and opposite directions as alternatives."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        folder, _, stem = name.partition("/")
        bare = stem[2:] if stem[:2] in ("l-", "r-") else stem
        topic = bare.rpartition("-")[0] or bare
        found.setdefault(f"{folder}/{topic}", {}).setdefault(bare, []).append(name)
    return [[tuple(sides) for sides in choices.values()] for choices in found.values()]


def _hair_style(rng: np.random.Generator, sex: float, age: float) -> str:
    if sex > 0.5:
        shares = (0.08 + 0.15 * age, 0.2, 0.32, 0.2, 0.06, 0.06, 0.02, 0.04, 0.02)
    else:
        shares = (0.0, 0.03, 0.08, 0.1, 0.12, 0.07, 0.24, 0.26, 0.1)
    return str(rng.choice(HAIR_STYLES, p=np.array(shares) / sum(shares)))


def _light(rng: np.random.Generator) -> Light:
    side, height = rng.uniform(-1.1, 1.1), rng.uniform(0.0, 0.9)
    direction = np.array([np.sin(side) * np.cos(height), np.sin(height), np.cos(side) * np.cos(height)])
    warm = float(rng.uniform(-1, 1))
    return Light(
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        strength=float(rng.uniform(0.6, 1.0)),
        colour=(1 + 0.08 * warm, 1.0, 1 - 0.12 * warm),
        ambient=float(rng.uniform(0.2, 0.4)),
        above=float(rng.uniform(0.2, 0.6)),
    )


def _room(rng: np.random.Generator) -> Colour:
    grey, tint = rng.uniform(0.12, 0.85), rng.normal(0, 0.06, 3)
    red, green, blue = np.clip(grey + tint, 0.02, 0.98).tolist()
    return red, green, blue


def _between(colours: Sequence[Colour], place: float) -> Colour:
    """The colour at `place`, 0 the first, 1 the last."""
    along = place * (len(colours) - 1)
    first = min(int(along), len(colours) - 2)
    return _mix(colours[first], colours[first + 1], along - first)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue
