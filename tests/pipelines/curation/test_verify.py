"""`icface dataset verify` finds what is wrong, and only that."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.__main__ import main
from pipelines.curation.verify import verify
from pipelines.format import INDEX_SCHEMA, write_table


def file_in(data: Path, pattern: str) -> Path:
    return sorted(data.glob(pattern))[0]


def test_a_whole_data_set_has_no_problems(crowd: Path):
    found = verify(str(crowd / "data"), str(crowd / "clips"))
    assert found.problems == []
    frames = sum(pq.read_metadata(path).num_rows for path in (crowd / "data").glob("frames/*/*.parquet"))
    assert found.frames == frames > 0
    assert found.shards == len(list((crowd / "data/clips").glob("*.parquet")))
    assert main(["dataset", "verify", str(crowd / "data")]) == 0


def flip(data: Path) -> None:
    path = file_in(data, "frames/*/*.parquet")
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 3] ^= 1
    path.write_bytes(contents)


def statistics(data: Path) -> None:
    table = pq.read_table(data / "index.parquet")
    column = table.schema.get_field_index("AU12_max")
    values = [4.75, *table["AU12_max"].to_pylist()[1:]]
    write_table(
        data / "index.parquet",
        table.set_column(column, table.schema.field(column), pa.array(values, pa.float32())),
        INDEX_SCHEMA,
    )


def shares(data: Path) -> None:
    meta = json.loads((data / "dataset.json").read_text())
    meta["attributes"][5]["measured_share"] = 0.5
    (data / "dataset.json").write_text(json.dumps(meta))


def counts(data: Path) -> None:
    meta = json.loads((data / "dataset.json").read_text())
    meta["counts"]["ok"] += 1
    (data / "dataset.json").write_text(json.dumps(meta))


def excluded(data: Path) -> None:
    (data / "exclusions.json").write_text(json.dumps({"identities": ["ann"], "clips": [], "shards": {}}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "cannot be read"),
        (statistics, "AU12_max is "),
        (shares, "and dataset.json says 50.00%"),
        (counts, "dataset.json counts 7 ok, and there are 6"),
        (excluded, "clip ann/v/1 was taken out, and is there"),
        (lambda data: file_in(data, "frames/*/*.parquet").unlink(), "is missing"),
        (lambda data: file_in(data, "clips/*.parquet").unlink(), "the shards are not those"),
        (
            lambda data: shutil.copy(file_in(data, "frames/*/*"), data / "frames/split=train/odd.parquet"),
            "is in no index",
        ),
        (lambda data: (data / "frames/x.parquet.abc.tmp").touch(), "left by a killed process"),
    ],
)
def test_what_is_wrong_is_said_with_status_1(damage, said: str, crowd: Path, capsys: pytest.CaptureFixture[str]):
    damage(crowd / "data")
    problems = verify(str(crowd / "data")).problems
    assert any(said in line for line in problems), problems
    assert main(["dataset", "verify", str(crowd / "data")]) == 1
    assert "problems; the first: " in capsys.readouterr().err


def test_a_clip_that_changed_since_is_named(crowd: Path, tmp_path: Path):
    clips = tmp_path / "copy"
    shutil.copytree(crowd / "clips", clips)
    (clips / "bob/v/2.mp4").unlink()
    (clips / "cyd/v/1.mp4").write_bytes(b"another")
    problems = verify(str(crowd / "data"), str(clips)).problems
    assert len(problems) == 2
    assert problems[0].startswith("clip bob/v/2: bob/v/2.mp4 is gone from")
    assert "clip cyd/v/1: cyd/v/1.mp4 is another file" in problems[1]
