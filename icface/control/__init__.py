"""Taking the attributes in hand: reading a driver, mixing the parts of several, editing single attributes."""

from icface.control.driving import read_driving
from icface.control.edits import apply_edits, clamp_to_seen, parse_edits
from icface.control.mixing import EYES, MOUTH, mix, relative
from icface.control.tables import ACTION_UNIT_WORDS, COMPANIONS, DEGREES, check_columns, seconds

__all__ = [
    "ACTION_UNIT_WORDS",
    "COMPANIONS",
    "DEGREES",
    "EYES",
    "MOUTH",
    "apply_edits",
    "check_columns",
    "clamp_to_seen",
    "mix",
    "parse_edits",
    "read_driving",
    "relative",
    "seconds",
]
