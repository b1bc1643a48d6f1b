"""Coming back to a data set: what is done is not done again, and what is added touches nothing else."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.clip_faults import contents
from support.datasets import changed

from icface.errors import IcfaceError
from pipelines.cluster import connect
from pipelines.config import PreprocessConfig
from pipelines.curation.forget import forget
from pipelines.dataset import OPTIONS, Dataset
from pipelines.format import read_table
from pipelines.preprocess.job import preprocess
from tests.pipelines.conftest import crowd_config


@pytest.fixture
def config(crowd: Path) -> PreprocessConfig:
    """That of `crowd`, which is finished."""
    clips = crowd / "clips"
    original = clips.readlink()
    clips.unlink()
    shutil.copytree(original, clips, symlinks=True)
    return replace(crowd_config(crowd), source=str(clips))


def test_a_finished_data_set_starts_no_ray(config: PreprocessConfig):
    before = contents(Path(config.dataset))
    code = (
        "import sys; from pipelines.config import PreprocessConfig; from pipelines.preprocess.job import preprocess\n"
        f"assert preprocess(PreprocessConfig.from_flat({config.to_flat()!r})).new_clips == 0\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'ray']"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(Path(config.dataset)) == before


def without(path: Path, columns: list[str]) -> None:
    """Take columns out of a Parquet file, those that it has."""
    table = read_table(path.read_bytes())
    pq.write_table(table.drop_columns([name for name in columns if name in table.column_names]), path)


def test_a_data_set_that_is_older_than_some_filters_goes_on(config: PreprocessConfig):
    data = Path(config.dataset)
    later = ["dropped_exposure", "dropped_jitter", "dropped_text"]
    assert not {"max_clipped", "max_jitter", "max_text"} & json.loads((data / OPTIONS).read_text()).keys()
    for path in data.glob("clips/*.parquet"):
        without(path, later)
    assert preprocess(config).new_clips == 0
    with pytest.raises(IcfaceError, match=r"max_clipped was None and is 0\.5 now"):
        preprocess(changed(config, max_clipped=0.5))
    forget(str(data), identities=["bob"])
    without(next(data.glob("clips/*.parquet")), later)  # old shards beside new ones
    clips = Dataset.open(str(data)).clips()
    assert "bob" not in set(clips["identity"])
    assert (clips[later] == 0).all().all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 48, "every": 3}, "every was 6 and is 3 now; size was 32 and is 48 now"),
        ({"crop": "frame"}, "crop was"),
        ({"licence": "other"}, "licence was 'test licence' and is 'other' now"),
        ({"max_pose": 0.5}, "max_pose was 0.7 and is 0.5 now"),
        ({"shard_clips": 2}, "shard_clips was 4 and is 2 now"),
    ],
)
def test_other_options_are_refused_by_name(config: PreprocessConfig, changes: dict, said: str):
    before = contents(Path(config.dataset))
    with pytest.raises(IcfaceError, match=said):
        preprocess(changed(config, **changes))
    assert contents(Path(config.dataset)) == before


@pytest.mark.parametrize(
    "changes", [{"workers": 1}, {"limit": 2}, {"cpu_seconds": 99.0}, {"max_failed": 0.5}, {"max_rejected": 0.9}]
)
def test_options_that_name_nothing_may_change(config: PreprocessConfig, changes: dict):
    assert preprocess(changed(config, **changes)).new_clips == 0


def test_a_moved_source_is_the_same_source(config: PreprocessConfig):
    """Whoever moves a project adds clips to the data set that they have; nothing is analysed again."""
    moved = Path(config.source).rename(Path(config.source).with_name("moved"))
    before = contents(Path(config.dataset))
    assert preprocess(replace(config, source=str(moved))).new_clips == 0
    after = contents(Path(config.dataset))
    assert json.loads(after.pop("options.json"))["source"] == str(moved)
    before.pop("options.json")
    assert after == before


def test_a_moved_source_that_changed_is_known_when_the_old_place_is_gone(config: PreprocessConfig):
    source = Path(config.source)
    moved = source.rename(source.with_name("moved"))
    next(moved.rglob("*.mp4")).unlink()
    assert preprocess(replace(config, source=str(moved))).clips == len(list(moved.rglob("*.mp4")))


def test_another_source_throws_nothing_away(config: PreprocessConfig):
    source = Path(config.source)
    other = source.with_name("other")
    shutil.copytree(source, other, symlinks=True)
    next(other.rglob("*.mp4")).unlink()
    before = contents(Path(config.dataset))
    with pytest.raises(IcfaceError, match="source was"):
        preprocess(replace(config, source=str(other)))
    assert contents(Path(config.dataset)) == before


def test_an_added_clip_writes_its_shard_alone(config: PreprocessConfig):
    data = Path(config.dataset)
    before = contents(data)
    times = {name: (data / name).stat().st_mtime_ns for name in before}
    place = Path(config.source, "zoe/v/1.mp4")
    place.parent.mkdir(parents=True)
    place.symlink_to(next(Path(config.source).rglob("ann/v/1.mp4")).resolve())
    with connect("local", 1):
        summary = preprocess(config)
    after = contents(data)
    assert summary.clips == 7
    whole = {"dataset.json", "index.parquet", "README.md"}
    gone = before.keys() - after.keys()
    new = after.keys() - before.keys()
    # Zoe is last in order: the last shard changes its name, and no other file is touched.
    assert 0 < summary.new_clips < 7
    assert len({name.rsplit("/", 1)[-1] for name in new}) == 1
    assert len({name.rsplit("/", 1)[-1] for name in gone}) <= 1
    for name in before.keys() & after.keys() - whole:
        assert (data / name).stat().st_mtime_ns == times[name], name
    # The same as if all had been there from the beginning.
    with connect("local", 1):
        fresh = preprocess(replace(config, dataset=str(data.parent / "fresh")))
    assert contents(Path(fresh.url)) == after
