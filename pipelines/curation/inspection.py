"""Looking at a data set: counts, distributions, what was rejected and why, as tables or as one HTML page."""

import html
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.images import decode_image, resize
from pipelines.curation.identity_check import read_flags
from pipelines.dataset import Dataset
from pipelines.format import SPLITS
from pipelines.html_report import image, table, write_page
from pipelines.storage import Folder

SAMPLED_GROUPS = 200
"""Row groups whose attributes are read for the distributions, evenly spread."""
PERCENTILES = (5, 50, 95)
SHOWN_PICTURES = 48
SHOWN_CLIPS = 50
BINS = 30

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a data set holds."""

    dataset: Dataset
    clips: pd.DataFrame
    """One row a clip that was found."""
    labels: npt.NDArray[np.float32]
    """(N, 20) raw attributes of the sampled row groups, NaN where not measured."""
    sampled: int
    """Row groups that `labels` came from."""
    flags: pd.DataFrame
    """What `--check-identities` found: one row a clip that was compared; none when nobody looked."""

    def tables(self) -> dict[str, Rows]:
        """Tables of text by title; the first row of each is its heading."""
        tables = {"Data set": self._facts(), "Clips": self._statuses(), "Splits": self._splits()}
        bad = self.clips[self.clips["status"] != "ok"]
        kinds = map(_kind, bad["reason"], bad["path"])
        reasons = Counter(zip(bad["status"], kinds, strict=True)).most_common()
        if reasons:
            tables["Rejected and failed clips"] = [
                ("status", "reason", "clips"),
                *((str(status), str(reason), str(n)) for (status, reason), n in reasons),
            ]
        tables |= self._strangers()
        title = f"Attributes ({len(self.labels)} frames of {self.sampled} row groups)"
        tables[title] = self._attributes()
        return tables

    def _facts(self) -> Rows:
        meta = self.dataset.meta
        analyzer = self.dataset.analyzer
        return [
            ("fact", "value"),
            ("place", self.dataset.url),
            ("sha256 of dataset.json", self.dataset.hash[:16]),
            ("made by", f"icface {meta['icface']}, format {meta['format']}"),
            ("analyzer", analyzer["fingerprint"]),
            ("crop", json.dumps(meta["crop"])),
            ("size", f"{self.dataset.size} px"),
            ("licence", self.dataset.licence),
        ]

    def _strangers(self) -> dict[str, Rows]:
        if self.flags.empty:
            return {}
        flagged = self.flags[self.flags["flagged"]].sort_values("distance", ascending=False)
        title = f"Clips that are not the person of their folder ({len(flagged)} of {len(self.flags)} compared)"
        rows = flagged[["clip", "identity", "distance"]].head(SHOWN_CLIPS).itertuples(index=False)
        return {
            title: [
                ("clip", "identity", "distance from its other clips"),
                *((str(clip), str(identity), f"{distance:.2f}") for clip, identity, distance in rows),
            ]
        }

    def _statuses(self) -> Rows:
        counts = self.clips["status"].value_counts()
        rows: Rows = [("status", "clips", "frames read", "frames kept", "minutes")]
        for status in ("ok", "rejected", "failed"):
            chosen = self.clips[self.clips["status"] == status]
            rows.append(
                (
                    status,
                    str(counts.get(status, 0)),
                    str(int(chosen["frames_read"].fillna(0).sum())),
                    str(int(chosen["frames_kept"].fillna(0).sum())),
                    f"{chosen['seconds'].fillna(0).sum() / 60:.1f}",
                )
            )
        return rows

    def _splits(self) -> Rows:
        index = self.dataset.index
        rows: Rows = [("split", "identities", "clips", "tracks", "frames", "held out")]
        for split in SPLITS:
            chosen = index[index["split"] == split]
            rows.append(
                (
                    split,
                    str(chosen["identity"].nunique()),
                    str(chosen["clip"].nunique()),
                    str(chosen[["clip", "track"]].drop_duplicates().shape[0]),
                    str(int(chosen.loc[~chosen["held_out"], "rows"].sum())),
                    str(int(chosen.loc[chosen["held_out"], "rows"].sum())),
                )
            )
        return rows

    def _attributes(self) -> Rows:
        rows: Rows = [("attribute", "unit", "measured", "mean", *(f"{p} %" for p in PERCENTILES), "zero")]
        for index, name in enumerate(ATTRIBUTE_NAMES):
            pose = name in POSE_NAMES
            values = self.labels[:, index]
            measured = values[np.isfinite(values)]
            share = f"{len(measured) / max(len(values), 1):.0%}"
            if not len(measured):
                rows.append((name, "rad" if pose else "0..5", share, *("–" for _ in range(len(PERCENTILES) + 2))))
                continue
            numbers = [float(measured.mean()), *(float(np.percentile(measured, p)) for p in PERCENTILES)]
            zero = "–" if pose else f"{(measured == 0).mean():.0%}"
            rows.append((name, "rad" if pose else "0..5", share, *(f"{number:.2f}" for number in numbers), zero))
        return rows


def inspect(url: str) -> Inspection:
    """Look at the data set at `url`. Raises IcfaceError when there is none."""
    dataset = Dataset.open(url)
    groups = [g for split in SPLITS for held_out in (False, True) for g in dataset.row_groups(split, held_out)]
    chosen = _spread(groups, SAMPLED_GROUPS)
    parts = [_labels(dataset, group) for group in chosen]
    labels = np.concatenate(parts) if parts else np.empty((0, len(ATTRIBUTE_NAMES)), np.float32)
    return Inspection(
        dataset=dataset, clips=dataset.clips(), labels=labels, sampled=len(chosen), flags=read_flags(Folder.at(url))
    )


def write_report(found: Inspection, path: str) -> None:
    """One HTML page with everything inside: tables, histograms, sample pictures, the worst clips, the options."""
    sections = [f"<h2>{html.escape(title)}</h2>{table(rows)}" for title, rows in found.tables().items()]
    sections.append("<h2>Distributions</h2><div class=plots>" + "".join(_plots(found.labels)) + "</div>")
    sections.append("<h2>Frames by split</h2>" + _split_bars(found.dataset))
    picture = _sample(found.dataset)
    if picture is not None:
        sections.append("<h2>Samples</h2>" + image(picture, "sample faces"))
    worst = _worst(found.clips)
    if len(worst):
        rows: Rows = [("clip", "status", "reason", "frames lost", "path")]
        columns = ["clip", "status", "reason", "frames_read", "path"]
        rows += [tuple(str(v) for v in row) for row in worst[columns].itertuples(index=False)]
        sections.append(f"<h2>Rejected and failed clips (the worst {len(worst)})</h2>{table(rows)}")
    options = html.escape(json.dumps(found.dataset.meta, indent=2, default=str))
    sections.append(f"<h2>dataset.json</h2><pre>{options}</pre>")
    write_page(path, found.dataset.url, sections)


def _kind(reason: str, path: str) -> str:
    """A reason without what is said of this clip alone: its name and numbers.

    >>> _kind("ann/v/1.mp4: the file is cut off, 110 of 157 frames can be read", "ann/v/1.mp4")
    'the file is cut off, N of N frames can be read'
    """
    return re.sub(r"\d+", "N", str(reason).replace(str(path), "").lstrip(": "))


def _worst(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips that cost most: those that could not be read, then those that lost the most frames."""
    bad = clips[clips["status"] != "ok"]
    return bad.sort_values(["status", "frames_read", "clip"], ascending=[True, False, True]).head(SHOWN_CLIPS)


def _split_bars(dataset: Dataset) -> str:
    """Frames of each split as bars, held-out ones in a lighter colour behind."""
    index = dataset.index
    longest = max(1, max(int(index.loc[index["split"] == split, "rows"].sum()) for split in SPLITS))
    lines = []
    for line, split in enumerate(SPLITS):
        chosen = index[index["split"] == split]
        total, held = int(chosen["rows"].sum()), int(chosen.loc[chosen["held_out"], "rows"].sum())
        y = 26 * line
        words = f"{total} frames" + (f", {held} of them held out" if held else "")
        lines.append(
            f'<text x="44" y="{y + 15}" text-anchor="end">{split}</text>'
            f'<rect x="50" y="{y}" width="{400 * total / longest:.1f}" height="20" fill="#a9bcd8"/>'
            f'<rect x="50" y="{y}" width="{400 * (total - held) / longest:.1f}" height="20" fill="#4a6fa5"/>'
            f'<text x="{56 + 400 * total / longest:.1f}" y="{y + 15}">{words}</text>'
        )
    return (
        f'<svg width="720" height="{26 * len(SPLITS)}" font-size="13" role="img" aria-label="frames by split">'
        f"{''.join(lines)}</svg>"
    )


def _labels(dataset: Dataset, group: Any) -> npt.NDArray[np.float32]:
    table = dataset.read(group, list(ATTRIBUTE_NAMES))
    return np.stack([table[name].to_numpy() for name in ATTRIBUTE_NAMES], axis=1).astype(np.float32)


def _sample(dataset: Dataset) -> npt.NDArray[np.uint8] | None:
    """The middle face of evenly spread row groups, twelve a row."""
    groups = [group for split in SPLITS for group in dataset.row_groups(split)]
    faces = []
    for group in _spread(groups, SHOWN_PICTURES):
        images = dataset.read(group, ["image"])["image"]
        faces.append(resize(decode_image(images[len(images) // 2].as_py()), 96))
    if not faces:
        return None
    columns = min(12, len(faces))
    sheet = Image.new("RGB", (columns * 96, -(-len(faces) // columns) * 96), "white")
    for index, face in enumerate(faces):
        sheet.paste(Image.fromarray(face), (index % columns * 96, index // columns * 96))
    return np.array(sheet)


def _plots(labels: npt.NDArray[np.float32]) -> list[str]:
    figures = []
    for index, name in enumerate(ATTRIBUTE_NAMES):
        values = labels[:, index]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        low, high = (-0.7, 0.7) if name in POSE_NAMES else (0.0, 5.0)
        counts, _ = np.histogram(values.clip(low, high), BINS, (low, high))
        heights = np.sqrt(counts / counts.max()) * 60  # square roots, so that rare values can be seen
        bars = "".join(
            f'<rect x="{6 * i}" y="{60 - h:.1f}" width="5" height="{h:.1f}" fill="#4a6fa5"/>'
            for i, h in enumerate(heights)
        )
        figures.append(
            f'<figure><svg width="{6 * BINS}" height="60" role="img" aria-label="histogram of {name}">{bars}</svg>'
            f"<figcaption>{name} {low:g} … {high:g}</figcaption></figure>"
        )
    return figures


def _spread(items: list[Any], most: int) -> list[Any]:
    """At most `most` of `items`, evenly spread."""
    if len(items) <= most:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, most).round().astype(int)]
