"""A page with two small models, a sample portrait and a data set."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.studio_page import Library, Page, run_page, tiny_model

from icface.arrays import Picture
from icface.bundle import save_bundle
from icface.images import encode_png
from icface.studio.resolvers import ModelChoice, Resolvers
from icface.video.reading import read_frames


@pytest.fixture(scope="session")
def face(sample_clips: dict[str, Path]) -> Picture:
    return next(read_frames(sample_clips["single_face.mp4"], window=1))[1][0]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for seed, name in enumerate(("first", "second")):
        save_bundle(tiny_model(seed), folder / name)
    return {name: folder / name for name in ("first", "second")}


@pytest.fixture(scope="session")
def resolvers(bundles: dict[str, Path], face: Picture) -> Resolvers:
    return Resolvers(
        models=lambda: [ModelChoice(reference=name, label=f"the {name}") for name in bundles],
        bundle=bundles.__getitem__,
        samples={"a face": lambda: face},
        libraries={"noise": Library()},
    )


@pytest.fixture(scope="module")
def page(resolvers: Resolvers) -> Iterator[Page]:
    yield from run_page(resolvers)


@pytest.fixture(scope="module")
def portrait(page: Page, face: Picture) -> str:
    return page.post("/api/portraits", encode_png(face))["portrait"]
