"""Licences of data and models: which one binds more, and what a model takes over from the one it began with.

A licence is a text of the user's, often a name with a remark, or several beside each other. Words that are known tell
how much it binds; what is not understood counts as binding more than any free licence, and no licence at all as
allowing nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icface.bundle import BundleConfig

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


def inherited(config: "BundleConfig", start: "BundleConfig") -> "BundleConfig":
    """`config` of a model that began with the weights of `start`: with the more binding licence, and both's sources."""
    return replace(
        config,
        licence=most_restrictive(config.licence, start.licence),
        training={**config.training, "sources": _together(sources(config), sources(start))},
    )


def sources(config: "BundleConfig") -> list[str]:
    """Where what a model was made from came from: the data set's clips, the starting model's."""
    return list(config.training.get("sources", ()))


def _together(*lists: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(item for items in lists for item in items))


def _one(text: str) -> Restriction:
    found = text.strip().lower()
    return next((level for level, words in _WORDS if re.search(words, found)), Restriction.OTHER)
