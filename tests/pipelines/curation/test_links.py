"""The same pictures or the same person under two names: found, listed, and kept on one side of the split."""

from itertools import islice
from pathlib import Path

import cv2
import pytest

from icface.video.reading import probe, read_frames
from icface.video.writing import write_video
from pipelines.config import PreprocessConfig
from pipelines.curation.derive import split
from pipelines.curation.forget import forget
from pipelines.curation.inspection import inspect
from pipelines.curation.links import LINKS, SAME_PERSON, SAME_PICTURES, SCHEMA, find_links, read_links
from pipelines.dataset import Dataset
from pipelines.manifest import Summary
from pipelines.preprocess.job import preprocess
from pipelines.sources.splits import assign_splits
from pipelines.storage import Folder

pytestmark = pytest.mark.usefixtures("ray_here")

FRAMES = 24


@pytest.fixture(scope="module")
def made(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """ann and bob are two people; `copy` is ann's clip, smaller and later; zoe is ann in the rest of the video."""
    folder = tmp_path_factory.mktemp("links")
    one, other = sample_clips["WolfgangLanger_Pexels.mp4"], sample_clips["single_face.mp4"]
    rate = probe(one).fps
    first, later = (list(frames) for _, frames in islice(read_frames(one, window=2 * FRAMES), 2))
    small = [cv2.resize(frame, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA) for frame in first[5:]]
    bobs = list(next(iter(read_frames(other, window=FRAMES)))[1])
    for name, frames in {"ann": first, "copy": small, "zoe": later, "bob": bobs}.items():
        place = folder / "clips" / name / "v"
        place.mkdir(parents=True)
        write_video(place / "1.mp4", frames, rate)
    config = PreprocessConfig.from_flat(
        {
            "source": str(folder / "clips"),
            "dataset": str(folder / "data"),
            "every": 2,
            "min_frames": 4,
            "val_fraction": 0.25,
            "check_identities": True,
        }
    )
    return preprocess(config)


def test_copies_and_people_under_two_names_are_found(made: Summary):
    links = read_links(Folder.at(made.url))
    found = {(row.identity, row.other_identity, row.reason): row for row in links.itertuples()}
    copy = found["ann", "copy", SAME_PICTURES]
    assert (copy.clip, copy.other_clip) == ("ann/v/1", "copy/v/1")
    assert copy.value > 0.5
    assert found["ann", "zoe", SAME_PERSON].value < 0.5
    assert not [pair for pair in found if "bob" in pair]
    assert made.linked is not None
    assert made.linked[0] == len(links[["identity", "other_identity"]].drop_duplicates())
    rows = next(rows for title, rows in inspect(made.url).tables().items() if "share pictures or a face" in title)
    assert ("ann/v/1", "copy/v/1", SAME_PICTURES) in [row[:3] for row in rows]


def test_it_does_not_depend_on_processes_and_nothing_of_a_face_is_kept(made: Summary):
    file = Path(made.url) / LINKS
    before = file.read_bytes()
    told: list[int] = []
    find_links(made.url, "local", 1, lambda done, total: told.append(done))
    assert told == [], "the clips are the same: nothing is compared again"
    file.unlink()
    find_links(made.url, "local", 1, lambda done, total: told.append(done))
    assert told[-1] == 4
    assert file.read_bytes() == before
    assert SCHEMA.names == ["identity", "other_identity", "clip", "other_clip", "reason", "value"]


def test_a_new_split_keeps_the_linked_on_one_side(made: Summary, tmp_path: Path):
    assert made.linked is not None
    seeds = range(20)
    apart = [seed for seed in seeds if len(set(sides(assign_splits(["ann", "bob", "copy", "zoe"], 0.25, seed)))) > 1]
    assert apart, "without the links some seed parts them"
    for seed in apart[:2]:
        out = tmp_path / str(seed)
        split(made.url, str(out), 0.25, seed)
        people = {group.identity: group.split for group in Dataset.open(str(out)).all_row_groups()}
        assert len(set(sides(people))) == 1
        assert people["bob"] not in sides(people)


def sides(people: dict[str, str]) -> list[str]:
    return [people[name] for name in ("ann", "copy", "zoe")]


def test_who_is_linked_to_the_test_set_is_not_trained_on():
    groups = {"ann": "ann", "copy": "ann"}
    found = assign_splits(["ann", "bob", "copy", "dan"], 0.0, 0, frozenset({"ann"}), groups)
    assert found == {"ann": "test", "copy": "val", "bob": "train", "dan": "train"}


def test_who_is_forgotten_is_in_no_pair(made: Summary):
    # Last: it changes the data set.
    forget(made.url, identities=["copy"])
    links = read_links(Folder.at(made.url))
    assert "copy" not in {*links["identity"], *links["other_identity"]}
    assert len(links)
    forget(made.url, clips=["zoe/v/1"])
    assert not {"zoe/v/1"} & {*links["clip"].dropna(), *read_links(Folder.at(made.url))["clip"].dropna()}
