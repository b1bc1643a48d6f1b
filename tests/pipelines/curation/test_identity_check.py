"""`--check-identities` on real faces, with a real Ray."""

import shutil
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from support.datasets import flat_config

from icface.video.reading import probe, read_frames
from icface.video.writing import write_video
from pipelines.config import PreprocessConfig
from pipelines.curation import identity_check as module
from pipelines.curation.forget import forget
from pipelines.curation.identity_check import IDENTITIES, SCHEMA, read_flags
from pipelines.curation.inspection import inspect
from pipelines.preprocess.job import preprocess
from pipelines.storage import Folder

pytestmark = pytest.mark.usefixtures("ray_here")

FRAMES = 24


@pytest.fixture(scope="module")
def parts(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Three short clips of each of two people."""
    folder = tmp_path_factory.mktemp("parts")
    found: dict[str, list[Path]] = {}
    for name, path in sample_clips.items():
        windows = islice(read_frames(path, window=FRAMES), 3)
        found[name] = [
            write_video(folder / f"{name}-{number}.mp4", list(frames), probe(path).fps)
            for number, (_, frames) in enumerate(windows)
        ]
    return found


def source_of(parts: dict[str, list[Path]], folder: Path) -> Path:
    """ann has two clips of her own and one of bob's; bob has one; cyd has one."""
    ann, bob = parts["WolfgangLanger_Pexels.mp4"], parts["single_face.mp4"]
    for place, clip in {"ann/1": ann[0], "ann/2": ann[1], "ann/3": bob[0], "bob/1": bob[1], "cyd/1": ann[2]}.items():
        identity, number = place.split("/")
        target = folder / "clips" / identity / "v" / f"{number}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, target)
    return folder / "clips"


def config(source: Path, dataset: Path, **changes) -> PreprocessConfig:
    values = {"source": str(source), "dataset": str(dataset), "every": 4, "min_frames": 4, "val_fraction": 0.0}
    return flat_config(**{**values, "check_identities": True, **changes})


def flags(dataset: Path) -> pd.DataFrame:
    return read_flags(Folder.at(str(dataset))).set_index("clip")


@pytest.fixture(scope="module")
def checked(parts: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the source `clips` and of the data set `one`, which was checked. Do not write into it."""
    folder = tmp_path_factory.mktemp("checked")
    assert preprocess(config(source_of(parts, folder), folder / "one", workers=1)).flagged == 1
    return folder


def test_a_clip_in_the_wrong_folder_is_flagged_whatever_the_number_of_workers(checked: Path, tmp_path: Path):
    source, one = checked / "clips", checked / "one"
    found = flags(one)
    assert found["flagged"].to_dict() == {
        "ann/v/1": False,
        "ann/v/2": False,
        "ann/v/3": True,
        "bob/v/1": False,
        "cyd/v/1": False,
    }
    assert found.loc["ann/v/3", "distance"] > 0.6 > found.loc["ann/v/1", "distance"] - 0.2
    assert pd.isna(found.loc["bob/v/1", "distance"])
    rows = inspect(str(one)).tables()
    assert ("ann/v/3", "ann") in [row[:2] for row in next(rows[title] for title in rows if "not the person" in title)]

    # Asked for later, with another number of processes.
    assert preprocess(config(source, tmp_path / "two", check_identities=False)).flagged is None
    assert not (tmp_path / "two" / IDENTITIES).exists()
    preprocess(config(source, tmp_path / "two", workers=2))
    assert (tmp_path / "two" / IDENTITIES).read_bytes() == (one / IDENTITIES).read_bytes()


def test_only_identities_with_other_clips_are_compared_again(
    tmp_path: Path, parts: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    source, data = source_of(parts, tmp_path), tmp_path / "data"
    preprocess(config(source, data))
    before = (data / IDENTITIES).read_bytes()
    compared = module._compared
    looked_at: list[set[str]] = []

    def spy(dataset, todo, *others):
        looked_at.append(set(todo))
        return compared(dataset, todo, *others)

    monkeypatch.setattr(module, "_compared", spy)
    preprocess(config(source, data))
    assert looked_at == []
    assert (data / IDENTITIES).read_bytes() == before
    shutil.copy(parts["single_face.mp4"][2], source / "bob/v/2.mp4")
    assert preprocess(config(source, data)).flagged == 1
    assert looked_at == [{"bob"}]
    assert not flags(data).loc["bob/v/2", "flagged"]


def test_no_embedding_is_stored_and_who_is_forgotten_leaves_no_flag(checked: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(checked / "one", data)
    assert SCHEMA.names == ["clip", "identity", "distance", "flagged", "members"]
    forget(str(data), clips=["ann/v/3"])
    assert "ann/v/3" not in flags(data).index
    forget(str(data), identities=["ann"])
    assert set(flags(data)["identity"]) == {"bob", "cyd"}
