"""What the Studio page may reach: models of the registry or named ones, data sets, sample portraits."""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.images import Picture, decode_jpeg
from icface.studio.resolvers import ClipLibrary, ClipSummary, ModelChoice, Resolvers
from icface.video.reading import read_frames
from icface.weights import SAMPLE_CLIPS, fetch
from orchestration.config import StudioJob
from orchestration.registry.example_portrait import portrait
from orchestration.registry.references import resolve
from pipelines.dataset import Dataset, RowGroup

SAMPLE_CLIP, SAMPLE_FRAME = "WolfgangLanger_Pexels.mp4", 240
"""Of the sample clip: no hand before the face, nearly frontal."""


def resolvers(job: StudioJob) -> Resolvers:
    """What the page is given. Raises IcfaceError when there is no model, or a model or data set cannot be opened."""
    if job.models:
        folders = {model: resolve(model).folder for model in job.models}
        named = [ModelChoice(reference=model, label=model) for model in job.models]
        models: Callable[[], Sequence[ModelChoice]] = lambda: named  # noqa: E731
        bundle: Callable[[str], Path] = folders.__getitem__
    else:
        models, bundle = _registered, lambda reference: resolve(reference).folder
        if not _registered():
            raise IcfaceError("no model is registered: name a bundle folder, or train with --register NAME")
    libraries: dict[str, ClipLibrary] = {}
    for url in job.dataset:
        library = DatasetLibrary(Dataset.open(url))
        libraries[library.name if library.name not in libraries else url] = library
    return Resolvers(
        models=models,
        bundle=bundle,
        samples={"WolfgangLanger (Pexels)": _sample, "drawn face": portrait},
        libraries=libraries,
    )


def _registered() -> list[ModelChoice]:
    """Aliases first, then every version."""
    from orchestration.registry import versions
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    found = versions.versions()
    aliases = [
        ModelChoice(reference=f"models:/{item.name}@{alias}", label=f"{item.name} @{alias} (version {item.number})")
        for item in found
        for alias in item.aliases
    ]
    return aliases + [
        ModelChoice(reference=f"models:/{item.name}/{item.number}", label=f"{item.name} version {item.number}")
        for item in found
    ]


@lru_cache(maxsize=1)
def _sample() -> Picture:
    for indices, frames in read_frames(fetch(SAMPLE_CLIPS[SAMPLE_CLIP])):
        if SAMPLE_FRAME in indices:
            return frames[indices.index(SAMPLE_FRAME)].copy()
    raise IcfaceError(f"{SAMPLE_CLIP} has no frame {SAMPLE_FRAME}")


class DatasetLibrary:
    """A data set's clips for the page."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name = Path(dataset.url.rstrip("/")).name

    def clips(self) -> Sequence[ClipSummary]:
        return self._clips

    def table(self, clip: str) -> pd.DataFrame:
        columns = ["frame", "timestamp", *ATTRIBUTE_NAMES]
        groups = self._groups_of(clip)
        # A clip may have several tracks: the first one's frames are in order of time.
        groups = [group for group in groups if group.track == groups[0].track]
        table = pd.concat([self._dataset.read(group, columns).to_pandas() for group in groups], ignore_index=True)
        return table.sort_values("frame", ignore_index=True)

    def picture(self, clip: str, frame: int) -> Picture:
        for group in self._groups_of(clip):
            rows = self._dataset.read(group, ["frame", "image"])
            found = np.flatnonzero(rows.column("frame").to_numpy() == frame)
            if len(found):
                return decode_jpeg(np.frombuffer(rows.column("image")[int(found[0])].as_py(), np.uint8))
        raise IcfaceError(f"{clip} has no stored frame {frame}")

    def _groups_of(self, clip: str) -> list[RowGroup]:
        if clip not in self._groups:
            raise IcfaceError(f"there is no clip {clip!r} in {self.name}")
        return self._groups[clip]

    @cached_property
    def _groups(self) -> dict[str, list[RowGroup]]:
        found: dict[str, list[RowGroup]] = {}
        for group in self._dataset.all_row_groups():
            found.setdefault(group.clip, []).append(group)
        return {clip: sorted(groups, key=lambda g: (g.track, g.file, g.ordinal)) for clip, groups in found.items()}

    @cached_property
    def _clips(self) -> list[ClipSummary]:
        index = self._dataset.index
        clips = []
        for clip, rows in index.groupby("clip", sort=True):
            largest = {n: float(rows[f"{n}_max"].max()) for n in ATTRIBUTE_NAMES if rows[f"{n}_max"].notna().any()}
            smallest = {n: float(rows[f"{n}_min"].min()) for n in largest}
            clips.append(
                ClipSummary(
                    clip=str(clip),
                    split=str(rows["split"].iloc[0]),
                    frames=int(rows["rows"].sum()),
                    largest=largest,
                    smallest=smallest,
                )
            )
        return clips
