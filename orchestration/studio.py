"""What the Studio page may reach: models of the registry or named ones, data sets, sample portraits."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from icface import starter
from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.studio.resolvers import ClipLibrary, ModelChoice, Resolvers
from icface.video.reading import read_frames
from icface.weights import SAMPLE_CLIPS, fetch
from orchestration.clip_library import DatasetLibrary
from orchestration.config import StudioJob
from orchestration.registry.example_portrait import portrait
from orchestration.registry.references import resolve
from pipelines.dataset import Dataset

SAMPLE_CLIP, SAMPLE_FRAME = "WolfgangLanger_Pexels.mp4", 240
"""Of the sample clip: no hand before the face, nearly frontal."""


def resolvers(job: StudioJob) -> Resolvers:
    """What the page is given. Raises IcfaceError when a model or data set cannot be opened."""
    if job.models:
        folders = {model: resolve(model).folder for model in job.models}
        named = [ModelChoice(reference=model, label=model) for model in job.models]
        models: Callable[[], Sequence[ModelChoice]] = lambda: named  # noqa: E731
        bundle: Callable[[str], Path] = folders.__getitem__
    else:
        models, bundle = _registered, lambda reference: resolve(reference).folder
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
    """Versions with an alias first, then the others; where nothing is registered, the model that comes with icface.

    Each is named by its number: an alias may go to another version while the page is open.
    """
    from orchestration.registry import versions
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    found = versions.versions()
    if not found:
        return [ModelChoice(reference=starter.NAME, label="starter (comes with icface, 64 px)")]
    return [
        ModelChoice(
            reference=f"models:/{item.name}/{item.number}",
            label=" ".join([f"{item.name} version {item.number}", *(f"@{alias}" for alias in item.aliases)]),
        )
        for item in sorted(found, key=lambda item: not item.aliases)
    ]


@lru_cache(maxsize=1)
def _sample() -> Picture:
    for indices, frames in read_frames(fetch(SAMPLE_CLIPS[SAMPLE_CLIP])):
        if SAMPLE_FRAME in indices:
            return frames[indices.index(SAMPLE_FRAME)].copy()
    raise IcfaceError(f"{SAMPLE_CLIP} has no frame {SAMPLE_FRAME}")
