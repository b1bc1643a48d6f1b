"""Licences of data and models: which one binds more.

A licence is a text of the user's, often a name with a remark, or several beside each other. Words that are known tell
how much it binds. Words that are not understood count as binding more than any free licence. No licence at all counts
as allowing nothing.
"""

import re
from enum import IntEnum

UNKNOWN = "unknown"


class Restriction(IntEnum):
    """How much a licence binds, from least to most."""

    PUBLIC_DOMAIN = 0
    ATTRIBUTION = 1
    """Use as you like, and name the authors."""
    SHARE_ALIKE = 2
    """What is made from it must be shared under the same terms."""
    OTHER = 3
    """Terms that are not known here: read them."""
    NO_COMMERCE = 4
    """Non-commercial, research only, or no terms at all."""


# Looked for in this order: "CC BY-NC-SA" is non-commercial before it is share-alike.
_WORDS = (
    (
        Restriction.NO_COMMERCE,
        r"non-? ?commercial|\bnc\b|research[ -](only|use|purposes)|academic|\bnd\b|no derivatives",
    ),
    (Restriction.NO_COMMERCE, r"^unknown\b|^none$|^$|all rights reserved|proprietary"),
    (Restriction.SHARE_ALIKE, r"share-? ?alike|\bsa\b|\b[al]?gpl|\bodbl\b"),
    (Restriction.ATTRIBUTION, r"\bcc[ -]by\b|\bmit\b|\bbsd\b|\bapache\b|\bisc\b|\bodc-by\b"),
    (Restriction.PUBLIC_DOMAIN, r"\bcc0\b|public domain|\bpddl\b|\bunlicense\b"),
)
_BETWEEN = re.compile(r"\s*[,;+]\s*(?![^()]*\))")  # not within brackets


def restriction(licence: str) -> Restriction:
    """How much a licence binds; of several named beside each other, the most binding one's.

    >>> [restriction(text).name for text in ("MIT", "CC BY-NC-SA 4.0", "GPL-3.0", "Pexels licence, MIT", "unknown")]
    ['ATTRIBUTION', 'NO_COMMERCE', 'SHARE_ALIKE', 'OTHER', 'NO_COMMERCE']
    """
    return max(_one(part) for part in _BETWEEN.split(licence))


def most_restrictive(*licences: str) -> str:
    """The licence that binds most; where several bind as much, all of them, since each has its own terms.

    >>> most_restrictive("MIT", "non-commercial (VoxCeleb)", "CC BY 4.0")
    'non-commercial (VoxCeleb)'
    >>> most_restrictive("non-commercial", "unknown", "non-commercial")
    'non-commercial; unknown'
    """
    if not licences:
        return UNKNOWN
    most = max(map(restriction, licences))
    kept = [part for text in licences if restriction(text) == most for part in text.split("; ")]
    return "; ".join(dict.fromkeys(part.strip() or UNKNOWN for part in kept))


def _one(text: str) -> Restriction:
    found = text.strip().lower()
    return next((level for level, words in _WORDS if re.search(words, found)), Restriction.OTHER)
