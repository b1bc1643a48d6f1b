"""Analyzers: who measures landmarks, pose and action units. `create` makes one by name."""

from importlib import import_module
from typing import Any

from icface.analyzers.face import Analyzer, Face, LabelsFromFiles
from icface.errors import IcfaceError

ANALYZERS = {
    "mediapipe": ("icface.analyzers.mediapipe", "MediaPipeAnalyzer"),
    "openface": ("icface.analyzers.openface", "OpenFaceAnalyzer"),
    "pyfeat": ("icface.analyzers.pyfeat", "PyFeatAnalyzer"),
}
"""Name of an analyzer: its module, imported when it is asked for, and class."""

__all__ = ["ANALYZERS", "Analyzer", "Face", "LabelsFromFiles", "create"]


def create(name: str, **options: Any) -> Analyzer:
    """The analyzer called `name`; `options` go to its class.

    Raises IcfaceError when there is none of that name, it lacks what it needs, or it does not know an option.
    """
    if name not in ANALYZERS:
        raise IcfaceError(f"unknown analyzer {name!r}; known are {', '.join(ANALYZERS)}")
    module, kind = ANALYZERS[name]
    analyzer: Analyzer = getattr(import_module(module), kind)(**options)
    return analyzer
