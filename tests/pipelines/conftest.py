import shutil
from pathlib import Path

import pytest
from support.datasets import build_dataset, flat_config

from pipelines.config import PreprocessConfig

PEOPLE = ("ann", "bob", "cyd")


def crowd_config(folder: Path) -> PreprocessConfig:
    """Six clips of three people, all in few shards, 32 px."""
    return flat_config(
        source=str(folder / "clips"),
        dataset=str(folder / "data"),
        size=32,
        every=6,
        val_fraction=0.0,
        shard_clips=4,
        licence="test licence",
    )


@pytest.fixture(scope="session")
def crowd_made_once(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowd")
    for identity in PEOPLE:
        for number in (1, 2):
            place = folder / f"clips/{identity}/v/{number}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(sample_clips["single_face.mp4"])
    build_dataset(crowd_config(folder))
    return folder


@pytest.fixture
def crowd(crowd_made_once: Path, tmp_path: Path) -> Path:
    """A folder with `clips` and the data set `data` made of them (`crowd_config`), to be changed at will."""
    shutil.copytree(crowd_made_once / "data", tmp_path / "data")
    (tmp_path / "clips").symlink_to(crowd_made_once / "clips")
    # A data set is bound to its source.
    options = tmp_path / "data/options.json"
    options.write_text(options.read_text().replace(str(crowd_made_once), str(tmp_path)))
    return tmp_path
