"""Expressions by name: the action units that FACS's authors found in each."""

from dataclasses import dataclass

from icface.attributes import AttributeSchema

PRESETS = {
    "happiness": ("AU06", "AU12"),
    "sadness": ("AU01", "AU04", "AU15"),
    "surprise": ("AU01", "AU02", "AU05", "AU26"),
    "fear": ("AU01", "AU02", "AU04", "AU05", "AU07", "AU20", "AU26"),
    "anger": ("AU04", "AU05", "AU07", "AU23"),
    "disgust": ("AU09", "AU15", "AU17"),
    "contempt": ("AU12", "AU14"),
}
"""Emotion: its action units (Ekman and Friesen's EMFACS; contempt is one-sided there, and here on both)."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An expression as one model can make it."""

    name: str
    units: tuple[str, ...]
    """Action units that the model was trained on."""
    left_out: tuple[str, ...]
    """Those that it was not."""


def presets_of(schema: AttributeSchema) -> list[Preset]:
    """The presets for a model; one of which it was trained on no unit is left out.

    >>> [preset.name for preset in presets_of(AttributeSchema.default())][:2]
    ['happiness', 'sadness']
    """
    trained = {attribute.name for attribute in schema.attributes if attribute.trained}
    found = [
        Preset(
            name=name,
            units=tuple(unit for unit in units if unit in trained),
            left_out=tuple(unit for unit in units if unit not in trained),
        )
        for name, units in PRESETS.items()
    ]
    return [preset for preset in found if preset.units]
