"""Looking at a data set: counts, distributions, what was dropped and why, as tables.

`pipelines.curation.inspection_page` makes one HTML page of them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.spread import evenly
from pipelines.curation.identity_check import read_flags
from pipelines.curation.links import read_links, split_apart
from pipelines.dataset import Dataset
from pipelines.format import DROPPED, SPLITS, labels_of
from pipelines.storage import Folder

SAMPLED_GROUPS = 200
"""Row groups whose attributes are read for the distributions, evenly spread."""
PERCENTILES = (5, 50, 95)
SHOWN_CLIPS = 50
SHOWN_PEOPLE = 20

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
    """What `--check-identities` found: one row a clip that was compared; none where it did not run."""
    links: pd.DataFrame
    """What it found across identities: `pipelines.curation.links`."""

    def tables(self) -> dict[str, Rows]:
        """Tables of text by title; the first row of each is its heading."""
        tables = {"Data set": self._facts(), "Clips": self._statuses(), "Splits": self._splits()}
        tables["Frames: what became of them"] = self._frames()
        bad = self.clips[self.clips["status"] != "ok"]
        kinds = map(kind, bad["reason"], bad["path"])
        reasons = Counter(zip(bad["status"], kinds, strict=True)).most_common()
        if reasons:
            tables["Rejected and failed clips"] = [
                ("status", "reason", "clips"),
                *((str(status), str(reason), str(n)) for (status, reason), n in reasons),
            ]
        title = f"People ({min(SHOWN_PEOPLE, len(self.people))} of {len(self.people)}, most frames first)"
        tables[title] = people_rows(self.people.head(SHOWN_PEOPLE))
        tables |= self._strangers()
        tables |= self._linked()
        title = f"Attributes ({len(self.labels)} frames of {self.sampled} row groups)"
        tables[title] = self._attributes()
        return tables

    @cached_property
    def people(self) -> pd.DataFrame:
        """One row an identity, most frames first: split, counts of clips, tracks, frames and minutes."""
        clips, index = self.clips, self.dataset.index
        found = clips.groupby("identity").agg(
            split=("split", "first"),
            clips=("clip", "size"),
            frames_read=("frames_read", "sum"),
            frames_kept=("frames_kept", "sum"),
            minutes=("seconds", lambda values: values.fillna(0).sum() / 60),
        )
        for status in ("rejected", "failed"):
            found[status] = clips[clips["status"] == status].groupby("identity").size()
        found["tracks"] = index.drop_duplicates(["clip", "track"]).groupby("identity").size()
        found["held_out"] = index[index["held_out"]].groupby("identity")["rows"].sum()
        found = found.fillna(dict.fromkeys(("rejected", "failed", "tracks", "held_out"), 0))
        return found.reset_index().sort_values(["frames_kept", "identity"], ascending=[False, True])

    def _frames(self) -> Rows:
        """Frames that were read, by what became of them."""
        clips = self.clips
        read = int(clips["frames_read"].fillna(0).sum())
        words = dropped_words(self.dataset.meta["options"])
        rows: Rows = [("frames", "number", "of those read", "clips concerned")]

        def row(what: str, counts: pd.Series) -> None:
            number = int(counts.fillna(0).sum())
            rows.append((what, str(number), f"{number / max(read, 1):.1%}", str(int((counts > 0).sum()))))

        row("read", clips["frames_read"])
        row("kept", clips["frames_kept"])
        columns = {name: f"dropped_{name}" for name in DROPPED if f"dropped_{name}" in clips}
        for name in sorted(columns, key=lambda name: -int(clips[columns[name]].sum())):
            if clips[columns[name]].sum():
                row(f"dropped: {words.get(name, name.replace('_', ' '))}", clips[columns[name]])
        rest = clips["frames_read"] - clips["frames_kept"] - clips[list(columns.values())].sum(axis=1)
        if rest.sum() > 0:
            row("lost: read before the clip failed or was rejected", rest.clip(lower=0))
        return rows

    def _facts(self) -> Rows:
        meta = self.dataset.meta
        analyzer = self.dataset.analyzer
        return [
            ("fact", "value"),
            ("place", self.dataset.url),
            ("sha256 of dataset.json", self.dataset.hash[:16]),
            ("made by", f"icface {meta['icface']}, format {meta['format']}"),
            ("analyzer", analyzer["fingerprint"]),
            ("crop", ", ".join(f"{name} {value}" for name, value in meta["crop"].items())),
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

    def _linked(self) -> dict[str, Rows]:
        if self.links.empty:
            return {}
        apart = split_apart(self.dataset, self.links)
        title = f"Identities that share pictures or a face ({len(self.links)} found)"
        shown = self.links.assign(apart=np.where(apart, "two sides", "one side")).head(SHOWN_CLIPS)
        return {
            title: [
                ("one", "other", "reason", "share or distance", "split"),
                *(
                    (
                        str(row.clip or row.identity),
                        str(row.other_clip or row.other_identity),
                        str(row.reason),
                        f"{row.value:.2f}",
                        str(row.apart),
                    )
                    for row in shown.itertuples()
                ),
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
    chosen = evenly(dataset.all_row_groups(), SAMPLED_GROUPS)
    parts = [_labels(dataset, group) for group in chosen]
    labels = np.concatenate(parts) if parts else np.empty((0, len(ATTRIBUTE_NAMES)), np.float32)
    return Inspection(
        dataset=dataset,
        clips=dataset.clips(),
        labels=labels,
        sampled=len(chosen),
        flags=read_flags(Folder.at(url)),
        links=read_links(Folder.at(url)),
    )


def kind(reason: str, path: str) -> str:
    """A reason without what is said of this clip alone: its name and numbers.

    >>> kind("ann/v/1.mp4: the file is cut off, 110 of 157 frames can be read", "ann/v/1.mp4")
    'the file is cut off, N of N frames can be read'
    """
    return re.sub(r"\d+", "N", str(reason).replace(str(path), "").lstrip(": "))


def worst(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips that cost most: those that could not be read, then those that lost the most frames."""
    bad = clips[clips["status"] != "ok"]
    return bad.sort_values(["status", "frames_read", "clip"], ascending=[True, False, True]).head(SHOWN_CLIPS)


def people_rows(people: pd.DataFrame) -> Rows:
    """`Inspection.people` as a table of text."""
    rows: Rows = [
        (
            "identity",
            "split",
            "clips",
            "rejected",
            "failed",
            "tracks",
            "minutes",
            "frames read",
            "kept",
            "of them held out",
        )
    ]
    for each in people.to_dict("records"):
        counts = [str(int(each[name])) for name in ("clips", "rejected", "failed", "tracks")]
        frames = [str(int(each[name])) for name in ("frames_read", "frames_kept", "held_out")]
        rows.append((str(each["identity"]), str(each["split"]), *counts, f"{each['minutes']:.1f}", *frames))
    return rows


def dropped_words(options: Mapping[str, Any]) -> dict[str, str]:
    """Why frames are dropped, in words, by the names of `DROPPED`; `options`: those of `dataset.json`."""
    size, pose = options.get("min_face"), options.get("max_pose")
    return {
        "no_face": "no face was found",
        "several_faces": "a second face, at least half as high",
        "small_face": f"the face is lower than {size} px (--min-face)",
        "low_confidence": f"confidence below {options.get('min_confidence')} (--min-confidence)",
        "turned": f"turned by more than {pose} rad (--max-pose)",
        "blurred": f"less sharp than {options.get('min_sharpness')} (--min-sharpness)",
        "exposure": f"a larger share than {options.get('max_clipped')} of the face is black or white (--max-clipped)",
        "text": f"thin bright strokes on more than {options.get('max_text')} of the face (--max-text)",
        "jitter": f"landmarks that tremble by more than {options.get('max_jitter')} % (--max-jitter)",
        "other_track": "another track of the clip is longer (--tracks longest)",
        "short_track": f"the track has fewer than {options.get('min_frames')} frames (--min-frames)",
        "gap": "the second before the held-out frames",
    }


def _labels(dataset: Dataset, group: Any) -> npt.NDArray[np.float32]:
    table = dataset.read(group, list(ATTRIBUTE_NAMES))
    return labels_of(table)
