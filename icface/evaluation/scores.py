"""From the pictures and labels of many pairs to scores."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES, AttributeSchema
from icface.evaluation.pairs import EvaluationPair, Labels, Pictures
from icface.evaluation.report import HEADLINE_UNITS, REFERENCES, GroupReport, Reference
from icface.metrics.attributes import LEAST_DEVIATION, centred, mean_error, pearson, pose_error_degrees
from icface.metrics.pictures import PerPicture, box_l1, l1, laplacian_variance, ssim


class GroupScores:
    """Gathers the pairs of one group, batch by batch, and scores them in `report`."""

    def __init__(self) -> None:
        self._pixels: dict[Reference, dict[str, list[float]]] = {name: defaultdict(list) for name in REFERENCES}
        self._found: dict[Reference, defaultdict[str, list[Labels]]] = {n: defaultdict(list) for n in REFERENCES}
        self._identity: dict[Reference, list[float]] = {name: [] for name in REFERENCES}
        self._asked: list[Labels] = []
        self._tracks: list[str] = []
        self._kinds: set[str] = set()
        self._sources: dict[str, Faces] = {}
        self._neutral: dict[str, Faces] = {}

    def add_source(self, source_key: str, source: "Faces", neutral: "Faces") -> None:
        """A source picture and its neutral face (N = 1)."""
        self._sources[source_key] = source
        self._neutral[source_key] = neutral

    def add_pair(self, pair: EvaluationPair, output: "Faces", driving: "Faces", baselines: bool = False) -> None:
        """One reenacted pair, whose source was added before: what the model made and the real frame (N = 1).

        `baselines`: the model's zero is a person's own, so the output should show the source's, not the driver's.
        """
        self._kinds.add(pair.kind)
        expected = pair.expected(baselines)
        self._asked.append(expected)
        self._tracks.append(pair.track)
        references: dict[Reference, Faces] = {
            "model": output,
            "copy_source": self._sources[pair.source_key],
            "noise_floor": driving,
        }
        for reference, face in references.items():
            for opinion, labels in face.opinions.items():
                found = labels[0]
                if reference == "noise_floor":  # the driver's zero for the source's: nothing where they are one person
                    found = found + (expected - pair.attributes)
                self._found[reference][opinion].append(found)
            if (distance := face.distance(self._sources[pair.source_key])) is not None:
                self._identity[reference].append(distance)
            for metric, value in pixel_scores(face.pictures, driving.pictures, pair.box[None]).items():
                self._pixels[reference][metric].append(float(value[0]))

    def report(self, schema: AttributeSchema) -> GroupReport:
        """The scores of all that was added; those of a second opinion are called `NAME/metric`."""
        asked = np.stack(self._asked)
        correlated: dict[str, int] = {}
        scores: dict[str, dict[str, float | None]] = {}
        for reference in REFERENCES:
            scores[reference] = self._pixel_means(reference)
            for opinion, rows in self._found[reference].items():
                found = np.stack(rows)
                labels, counts = attribute_scores(asked, found, self._tracks, schema)
                labels = {"detected": float(np.isfinite(found).any(axis=1).mean()), **labels}
                scores[reference] |= named(labels, opinion)
                if reference == "model" and not opinion:
                    correlated = counts
            # A driving frame of somebody else says nothing of how far a person's own pictures lie apart.
            if (distance := self._identity[reference]) and (reference != "noise_floor" or self._kinds == {"self"}):
                scores[reference]["identity"] = float(np.mean(distance))
        sources, neutral = (_stacked(faces.values()) for faces in (self._sources, self._neutral))
        for opinion in neutral.opinions:
            scores["model"] |= named({"neutral_leak": _leak(neutral.opinions[opinion])}, opinion)
            scores["copy_source"] |= named({"neutral_leak": _leak(sources.opinions[opinion])}, opinion)
            scores["model"] |= named(_shares(scores, opinion), opinion)
        scores["model"]["neutral_variance"] = _variance(neutral, sources)
        return GroupReport(pairs=len(asked), sources=len(self._sources), scores=scores, correlated=correlated)

    def _pixel_means(self, reference: Reference) -> dict[str, float | None]:
        """Pixels are compared only where the driving frame shows the source's own person."""
        if self._kinds != {"self"}:
            return dict.fromkeys(("face_l1", "l1", "ssim", "sharpness"))
        means = {metric: float(np.mean(values)) for metric, values in self._pixels[reference].items()}
        real = float(np.mean(self._pixels["noise_floor"]["laplacian"]))
        sharpness = means.pop("laplacian") / real if real > 0 else None
        return {**means, "sharpness": sharpness}


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Pictures and what the analyzer finds in them."""

    pictures: Pictures
    """(N, S, S, 3) uint8 RGB."""
    labels: Labels
    """(N, 20) raw; NaN where not measured, all NaN where no face is found."""
    embeddings: list[npt.NDArray[np.float64] | None]
    """N, of those whose face was embedded."""
    second: Mapping[str, Labels] = field(default_factory=dict)
    """What other analyzers find, by their names: (N, 20) like `labels`."""

    @property
    def opinions(self) -> dict[str, Labels]:
        """`labels` under the name "", then those of the other analyzers."""
        return {"": self.labels, **self.second}

    def one(self, index: int) -> "Faces":
        """The picture at `index`, as N = 1."""
        only = slice(index, index + 1)
        return Faces(
            pictures=self.pictures[only],
            labels=self.labels[only],
            embeddings=self.embeddings[only],
            second={name: labels[only] for name, labels in self.second.items()},
        )

    def distance(self, other: "Faces") -> float | None:
        """L2 distance of the first face's embedding to that of `other`; None where there is none."""
        one, another = self.embeddings[0], other.embeddings[0]
        return None if one is None or another is None else float(np.linalg.norm(one - another))


def pixel_scores(pictures: Pictures, targets: Pictures, boxes: npt.NDArray[np.float32]) -> dict[str, PerPicture]:
    """`face_l1`, `l1`, `ssim` (see `METRICS`) and `laplacian`, the Laplacian's variance in the box: (N,) each."""
    return {
        "face_l1": box_l1(pictures, targets, boxes),
        "l1": l1(pictures, targets),
        "ssim": ssim(pictures, targets),
        "laplacian": laplacian_variance(pictures, boxes),
    }


def attribute_scores(
    asked: Labels, found: Labels, tracks: list[str], schema: AttributeSchema
) -> tuple[dict[str, float | None], dict[str, int]]:
    """Scores of the attributes `found` (N, 20) where `asked` (N, 20) was wanted, raw; NaN is not measured.

    Returns the metrics `pose_error`, `r`, `within` and `error` of `METRICS`, and the pairs behind each `r`.
    `tracks` (N,) name the pairs' tracks.
    """
    scores: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    pose = pose_error_degrees(asked[:, : len(POSE_NAMES)], found[:, : len(POSE_NAMES)])
    known = [value for value in pose.values() if np.isfinite(value)]
    scores["pose_error"] = float(np.mean(known)) if known else None
    scores |= {f"pose_error.{name.removeprefix('pose_')}": _number(value) for name, value in pose.items()}
    errors = mean_error(asked, found)
    both = np.isfinite(asked) & np.isfinite(found)
    asked_within = centred(np.where(both, asked, np.nan), tracks)
    found_within = centred(np.where(both, found, np.nan), tracks)
    for attribute in schema.attributes:
        index, least = ATTRIBUTE_NAMES.index(attribute.name), LEAST_DEVIATION[attribute.unit]
        name = attribute.name.removeprefix("pose_")
        scores[f"r.{name}"], counts[attribute.name] = pearson(asked[:, index], found[:, index], least)
        scores[f"within.{name}"], _ = pearson(asked_within[:, index], found_within[:, index], least)
        if attribute.name not in POSE_NAMES:
            scores[f"error.{name}"] = _number(errors[index])
    return scores, counts


def _variance(neutral: Faces, sources: Faces) -> float | None:
    spread = float((sources.pictures / 255).var(axis=0).mean())
    return float((neutral.pictures / 255).var(axis=0).mean()) / spread if spread > 0 else None


def named(metrics: Mapping[str, float | None], opinion: str) -> dict[str, float | None]:
    """Metrics by a second opinion as `NAME/metric`, without those that it does not measure; the first one's unchanged.

    >>> named({"r.AU12": 0.5, "r.AU04": None}, "dlib"), named({"r.AU04": None}, "")
    ({'dlib/r.AU12': 0.5}, {'r.AU04': None})
    """
    if not opinion:
        return dict(metrics)
    return {f"{opinion}/{name}": value for name, value in metrics.items() if value is not None}


def _shares(scores: Mapping[str, Mapping[str, float | None]], opinion: str) -> dict[str, float | None]:
    """The model's scores over those of the reference that each is best held against."""

    def over(name: str, reference: Reference) -> float | None:
        key = f"{opinion}/{name}" if opinion else name
        mine, other = scores["model"].get(key), scores[reference].get(key)
        return mine / other if mine is not None and other is not None and other > 0 else None

    shares = {f"within_share.{unit}": over(f"within.{unit}", "noise_floor") for unit in HEADLINE_UNITS}
    shares["neutral_leak_share"] = over("neutral_leak", "copy_source")
    return shares if opinion else {**shares, "face_l1_share": over("face_l1", "copy_source")}


def _leak(labels: Labels) -> float | None:
    """Mean over faces of the sum of the measured action units; None when no face was found."""
    units = labels[:, len(POSE_NAMES) :]
    seen = units[np.isfinite(units).any(axis=1)]
    return float(np.nansum(seen, axis=1).mean()) if len(seen) else None


def _stacked(faces: Iterable[Faces]) -> Faces:
    listed = list(faces)
    return Faces(
        pictures=np.concatenate([face.pictures for face in listed]),
        labels=np.concatenate([face.labels for face in listed]),
        embeddings=[embedding for face in listed for embedding in face.embeddings],
        second={name: np.concatenate([face.second[name] for face in listed]) for name in listed[0].second},
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
