"""Several data sets in one training, each with its share of the pairs.

The first data set is the training's own: it gives the crop rule, and the frames of validation. What another one must
agree in is checked here, and refused by name.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icface.analyzers.registry import SYNTHETIC
from icface.attributes import TRAINED_FROM_SHARE, Attribute, AttributeSchema, Seen, unit_of
from icface.crop import FOLLOWING
from icface.errors import IcfaceError
from icface.licences import most_restrictive
from pipelines.dataset import Dataset
from pipelines.loading.sides import training_schema
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

AS_MEDIAPIPE = ("mediapipe", "mediapipe-torch")
"""Analyzers on whose scale the labels of synthetic people are."""
OTHER_MEANING = ("AU06", "AU09")
"""Of synthetic people these are weights of single ARKit units; MediaPipe's are guessed from other units and landmarks.
Beside MediaPipe's labels they count as not measured on synthetic people."""


@dataclass(frozen=True)
class Part:
    """One data set of a mixture."""

    dataset: Dataset
    share: float
    """Of the pairs, 0..1."""
    ignored: tuple[str, ...] = ()
    """Attributes whose labels mean something else than in the first data set: read as not measured."""


@dataclass(frozen=True)
class Mixture:
    """What a training draws its pairs from; a single data set is a mixture of one."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, dataset: "Dataset | Mixture") -> "Mixture":
        """A single data set as a mixture; a mixture as it is."""
        return dataset if isinstance(dataset, Mixture) else cls((Part(dataset, 1.0),))

    @classmethod
    def open(cls, url: str, others: Sequence[str] = (), cache: RowCache | None = None) -> "Mixture":
        """The data set at `url` and `others`, each as URL:SHARE; the first has the rest of the pairs.

        Raises IcfaceError for a share that is none, and a data set that does not fit the first one.
        """
        first = Dataset.open(Folder.at(url).absolute, cache)
        named = [split_share(text) for text in others]
        rest = 1 - sum(share for _, share in named)
        if named and rest <= 1e-9:
            raise IcfaceError(
                f"--with {' '.join(others)}: the shares are {1 - rest:g} together, and must leave some for {url}"
            )
        parts = [Part(first, rest)]
        for other, share in named:
            dataset = Dataset.open(Folder.at(other).absolute, cache)
            check_fits(first, dataset)
            parts.append(Part(dataset, share))
        measured = any(part.dataset.analyzer.get("name") in AS_MEDIAPIPE for part in parts)
        if measured:
            parts = [
                replace(part, ignored=OTHER_MEANING) if part.dataset.analyzer.get("name") == SYNTHETIC else part
                for part in parts
            ]
        mixture = cls(tuple(parts))
        mixture._check_people()
        return mixture

    @property
    def first(self) -> Dataset:
        """The training's own data set."""
        return self.parts[0].dataset

    @property
    def url(self) -> str:
        """Of the first data set."""
        return self.first.url

    @property
    def others(self) -> tuple[str, ...]:
        """All but the first, as `open` takes them."""
        return tuple(f"{part.dataset.url}:{part.share!r}" for part in self.parts[1:])

    @property
    def others_facts(self) -> list[dict[str, Any]]:
        """All but the first, for the record of where a model comes from."""
        return [
            {"url": part.dataset.url, "share": part.share, "sha256": part.dataset.hash, "licence": part.dataset.licence}
            for part in self.parts[1:]
        ]

    @property
    def hash(self) -> str:
        """Hexadecimal sha256 of what is mixed and how; of one data set, its own."""
        if len(self.parts) == 1:
            return self.first.hash
        facts = [[part.dataset.hash, part.share, part.ignored] for part in self.parts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def licence(self) -> str:
        """The most restrictive one."""
        return most_restrictive(*(part.dataset.licence for part in self.parts))

    @property
    def sources(self) -> list[str]:
        """Where the clips of all came from."""
        return list(dict.fromkeys(source for part in self.parts for source in part.dataset.meta["sources"]))

    @property
    def analyzer(self) -> dict[str, Any]:
        """Who measures a portrait for the model: of real clips and synthetic people, who measured the clips."""
        return next(
            (part.dataset.analyzer for part in self.parts if part.dataset.analyzer.get("name") != SYNTHETIC),
            self.first.analyzer,
        )

    @property
    def schema(self) -> AttributeSchema:
        """`training_schema` without sides."""
        return self.training_schema(sides=False)

    def training_schema(self, sides: bool) -> AttributeSchema:
        """The attributes with the share of the drawn frames on which each is measured, and what any of them shows.

        With `sides` left and right are apart (`pipelines.loading.sides`). Raises IcfaceError as that does.
        """
        schemas = [training_schema(part.dataset, sides) for part in self.parts]
        if len(schemas) == 1:
            return schemas[0]
        return AttributeSchema(
            tuple(self._mixed([schema.attributes[place] for schema in schemas]) for place in range(len(schemas[0])))
        )

    def facts(self) -> list[dict[str, Any]]:
        """For the record, one entry a data set: share, hash, licence, analyzer, frames and people of its training."""
        return [
            {
                "name": part.dataset.url.rstrip("/").rpartition("/")[2],
                "share": round(part.share, 6),
                "hash": part.dataset.hash,
                "licence": part.dataset.licence,
                "analyzer": part.dataset.analyzer.get("fingerprint"),
                "frames": part.dataset.meta["counts"]["frames"]["train"],
                "identities": part.dataset.meta["counts"]["identities"]["train"],
            }
            for part in self.parts
        ]

    def _mixed(self, attributes: list[Attribute]) -> Attribute:
        kept = [
            (part.share, attribute)
            for part, attribute in zip(self.parts, attributes, strict=True)
            if unit_of(attribute.name) not in part.ignored
        ]
        measured = sum(share * attribute.measured_share for share, attribute in kept)
        seen = [(share, attribute.seen) for share, attribute in kept if attribute.seen is not None]
        return replace(
            attributes[0],
            measured_share=round(min(measured, 1.0), 6),
            trained=measured >= TRAINED_FROM_SHARE,
            seen=_seen(seen) if seen else None,
        )

    def _check_people(self) -> None:
        """Raise IcfaceError when a person of one data set's training is in another's validation or test."""
        people: dict[str, tuple[str, str]] = {}
        for part in self.parts:
            for split in ("train", "val", "test"):
                for name in sorted({group.identity for group in part.dataset.row_groups(split)}):
                    known, url = people.setdefault(name, (split, part.dataset.url))
                    if known != split:
                        raise IcfaceError(
                            f"{name} is {known} in {url} and {split} in {part.dataset.url}: bring one of them to the "
                            "other's split by `icface dataset split`, or leave the person out of one"
                        )


def split_share(text: str) -> tuple[str, float]:
    """URL and share of `URL:SHARE`. Raises IcfaceError.

    >>> split_share("s3://bucket/people:0.3")
    ('s3://bucket/people', 0.3)
    """
    url, _, number = text.rpartition(":")
    try:
        share = float(number)
    except ValueError:
        share = np.nan
    if not url or not 0 < share < 1:
        raise IcfaceError(f"--with {text}: give a data set and its share of the pairs, as in --with synthetic:0.3")
    return url, share


def check_fits(first: Dataset, other: Dataset) -> None:
    """Raise IcfaceError naming in what two data sets cannot be trained on together."""
    both = f"{first.url} and {other.url} cannot be mixed:"
    if first.size != other.size:
        raise IcfaceError(f"{both} their pictures have {first.size} and {other.size} px; make both in one size")
    if not _same_squares(first, other):
        raise IcfaceError(
            f"{both} they are cropped as {first.crop_rule.to_json()} and as {other.crop_rule.to_json()}; make one "
            "with the other's rule"
        )
    codes = [
        [(a.name, a.unit, a.low, a.high, a.neutral) for a in dataset.schema.attributes] for dataset in (first, other)
    ]
    if codes[0] != codes[1]:
        names = sorted({entry[0] for entry in set(codes[0]) ^ set(codes[1])})
        raise IcfaceError(f"{both} they differ in the attributes {', '.join(names)}")
    analyzers = [dataset.analyzer for dataset in (first, other)]
    if analyzers[0].get("fingerprint") == analyzers[1].get("fingerprint"):
        return
    names = [str(analyzer.get("name")) for analyzer in analyzers]
    if SYNTHETIC in names and set(names) <= {SYNTHETIC, *AS_MEDIAPIPE}:
        return
    raise IcfaceError(
        f"{both} their labels are by {analyzers[0].get('fingerprint')} and by {analyzers[1].get('fingerprint')}, whose "
        "scales differ; synthetic people go with labels by MediaPipe, all others with labels by the same analyzer"
    )


def _same_squares(first: Dataset, other: Dataset) -> bool:
    """Whether both crop rules lay the same square around a face."""
    rules = (first.crop_rule, other.crop_rule)
    if any(dataset.analyzer.get("name") == SYNTHETIC for dataset in (first, other)):
        # The frames of synthetic people are such squares: there is nothing to smooth, and no edge to leave.
        return rules[0].scale == rules[1].scale and all(rule.mode in FOLLOWING for rule in rules)
    return rules[0] == rules[1]


def _seen(parts: list[tuple[float, Seen]]) -> Seen:
    """What all show: the ends and percentiles of the one that goes farthest, the mean of the medians by share."""
    low, high = min(seen.p01 for _, seen in parts), max(seen.p99 for _, seen in parts)
    middle = float(np.average([seen.p50 for _, seen in parts], weights=[share for share, _ in parts]))
    return Seen(
        min=min(seen.min for _, seen in parts),
        p01=low,
        p50=round(min(max(middle, low), high), 4),
        p99=high,
        max=max(seen.max for _, seen in parts),
    )
