"""Expressions by name: the action units that FACS's authors found in each."""

from dataclasses import dataclass

from icface.attributes import SIDE_NAMES, AttributeSchema

PRESETS = {
    "happiness": ("AU06", "AU12"),
    "sadness": ("AU01", "AU04", "AU15"),
    "surprise": ("AU01", "AU02", "AU05", "AU26"),
    "fear": ("AU01", "AU02", "AU04", "AU05", "AU07", "AU20", "AU26"),
    "anger": ("AU04", "AU05", "AU07", "AU23"),
    "disgust": ("AU09", "AU15", "AU17"),
    "contempt": ("AU12", "AU14"),
}
"""Emotion: its action units (Ekman and Friesen's EMFACS)."""
ONE_SIDED = ("contempt",)
"""Shown by the right side of the face alone, where a model has sides."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An expression as one model can make it."""

    name: str
    units: tuple[str, ...]
    """Action units that the model was trained on, by its own names."""
    left_out: tuple[str, ...]
    """Those that it was not."""


def presets_of(schema: AttributeSchema) -> list[Preset]:
    """The presets for a model; one of which it was trained on no unit is left out.

    >>> [preset.name for preset in presets_of(AttributeSchema.default())][:2]
    ['happiness', 'sadness']
    """
    trained = {attribute.name for attribute in schema.attributes if attribute.trained}
    found = []
    for name, units in PRESETS.items():
        names = [each for unit in units for each in schema.meant_by(unit) or (unit,)]
        if name in ONE_SIDED:
            names = [each for each in names if each not in SIDE_NAMES or each.endswith("R")]
        found.append(
            Preset(
                name=name,
                units=tuple(each for each in names if each in trained),
                left_out=tuple(each for each in names if each not in trained),
            )
        )
    return [preset for preset in found if preset.units]
