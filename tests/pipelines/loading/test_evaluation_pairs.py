import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.crop import CropRule
from icface.errors import IcfaceError
from icface.images import decode_image, encode_jpeg
from pipelines.dataset import Dataset
from pipelines.format import FRAMES, INDEX_SCHEMA, VERSION, FrameWriter, write_table
from pipelines.loading.evaluation_pairs import SEQUENCE_FRAMES, EvaluationPairs

SIZE = 16


def labels_of(clip: str, frame: int) -> np.ndarray:
    """(20,) raw labels that tell clip and frame; nearest to neutral at frame 3; AU14 not measured."""
    values = np.full(20, 0.02 * abs(frame - 3), np.float32)
    values[4] = sum(clip.encode()) % 7 / 100
    values[ATTRIBUTE_NAMES.index("AU14")] = np.nan
    return values


def picture_of(clip: str, frame: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), (frame, 100, sum(clip.encode()) % 256), np.uint8)


def rows_of(clip: str, frames: range, held_out: bool) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for frame in frames:
        labels = labels_of(clip, frame)
        rows.append(
            {
                "identity": clip.split("/")[0],
                "video": clip.split("/")[1],
                "clip": clip,
                "track": 0,
                "frame": frame,
                "timestamp": frame / 25,
                "held_out": held_out,
                "image": encode_jpeg(picture_of(clip, frame)),
                "box_x": 12.0,
                "box_y": 24.0,
                "box_w": 20.0,
                "box_h": 30.0,
                "crop_x": 10.0,
                "crop_y": 20.0,
                "crop_size": 40.0,
                "landmarks": np.full(136, 0.5, np.float16),
                "confidence": 1.0,
                **{
                    name: None if np.isnan(value) else float(value)
                    for name, value in zip(ATTRIBUTE_NAMES, labels, strict=True)
                },
            }
        )
    return pa.Table.from_pylist(rows, schema=FRAMES)


def write_dataset(folder: Path, clips: dict[str, list[tuple[str, range, bool]]]) -> Dataset:
    """A data set with one file a split; `clips`: split -> (clip, frames, held out), one row group each."""
    index = []
    for split, groups in clips.items():
        file = f"frames/split={split}/a.parquet"
        (folder / file).parent.mkdir(parents=True)
        writer = FrameWriter(folder / file, file, split)
        for clip, frames, held_out in groups:
            writer.write(rows_of(clip, frames, held_out))
        writer.close()
        index += writer.index
    write_table(folder / "index.parquet", index, INDEX_SCHEMA)
    meta = {
        "format": VERSION,
        "attributes": AttributeSchema.default().to_json(),
        "analyzer": {"name": "mediapipe", "fingerprint": "test"},
        "crop": CropRule().to_json(),
        "options": {"size": SIZE},
        "licence": "test",
    }
    (folder / "dataset.json").write_text(json.dumps(meta))
    return Dataset.open(str(folder))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(
        tmp_path,
        {
            "train": [
                ("a/v/1", range(5), False),
                ("a/v/1", range(5, 10), False),
                ("a/v/1", range(20, 26), True),
                ("b/v/1", range(10), False),
                ("b/v/1", range(20, 23), True),
                ("c/v/1", range(8), False),
            ],
            "val": [("d/v/1", range(12), False), ("e/v/1", range(6), False), ("e/v/2", range(6), False)],
        },
    )


def test_held_out_frames_are_asked_of_the_nearest_neutral_training_frame(dataset: Dataset) -> None:
    pairs = list(EvaluationPairs(dataset, groups=["held_out"]))
    assert [(pair.key, pair.kind) for pair in pairs] == [
        *((f"held_out:a/v/1#0@3>a/v/1#0@{frame}", "self") for frame in range(20, 26)),
        *((f"held_out:b/v/1#0@3>b/v/1#0@{frame}", "self") for frame in range(20, 23)),
    ]
    for pair, (clip, frame) in zip(pairs, [("a/v/1", 20), ("a/v/1", 21)], strict=False):
        np.testing.assert_array_equal(pair.source, decode_image(encode_jpeg(picture_of(clip, 3))))
        np.testing.assert_array_equal(pair.driving, decode_image(encode_jpeg(picture_of(clip, frame))))
        np.testing.assert_array_equal(pair.attributes, labels_of(clip, frame))
        np.testing.assert_allclose(pair.box, [0.05, 0.1, 0.5, 0.75])


def test_val_frames_are_all_but_the_source(dataset: Dataset) -> None:
    pairs = EvaluationPairs(dataset, groups=["val"])
    frames = [int(pair.key.split("@")[-1]) for pair in pairs if pair.track == "d/v/1#0"]
    assert frames == [frame for frame in range(12) if frame != 3]
    assert len(pairs) == 11 + 5 + 5


def test_cross_pairs_never_meet_their_own_identity(dataset: Dataset) -> None:
    pairs = list(EvaluationPairs(dataset, groups=["cross"]))
    ways = {(pair.source_key.split("#")[0], pair.track.split("#")[0]) for pair in pairs}
    assert ways == {("a/v/1", "b/v/1"), ("b/v/1", "a/v/1"), ("d/v/1", "e/v/1"), ("e/v/1", "d/v/1"), ("e/v/2", "d/v/1")}
    assert {pair.kind for pair in pairs} == {"cross"}
    pair = next(pair for pair in pairs if pair.track == "b/v/1#0")
    np.testing.assert_array_equal(pair.source, decode_image(encode_jpeg(picture_of("a/v/1", 3))))
    np.testing.assert_array_equal(pair.attributes, labels_of("b/v/1", 20))


def test_a_pair_knows_its_people_and_landmarks(dataset: Dataset) -> None:
    pairs = EvaluationPairs(dataset)
    listed = list(pairs)
    assert {pair.person for pair in listed if pair.group == "cross"} == {"a", "b", "d", "e"}
    assert all(pair.person == pair.source_key[0] for pair in listed)
    assert (listed[0].landmarks == 0.5).all() and listed[0].landmarks.shape == (68, 2)
    np.testing.assert_array_equal(pairs.attributes(), [pair.attributes for pair in listed])
    assert [(each.group, each.key) for each in pairs.sources()] == list(
        dict.fromkeys((pair.group, pair.source_key) for pair in listed)
    )
    blocks = pairs.by_source()
    assert [number for block in blocks for number in block] == list(range(len(pairs)))
    assert all(len({(listed[n].group, listed[n].source_key) for n in block}) == 1 for block in blocks)
    assert [pair.key for pair in pairs.some(blocks[1])] == [listed[n].key for n in blocks[1]]


def test_the_frame_that_is_looked_up_is_the_nearest_in_attributes_and_not_the_asked_one(tmp_path: Path) -> None:
    made = write_dataset(
        tmp_path,
        {
            "train": [("a/v/1", range(40), False), ("a/v/1", range(80, 86), True)],
            "val": [("d/v/1", range(80), False)],
        },
    )
    for pair in EvaluationPairs(made, groups=["held_out"]):
        # Attributes grow with the distance from frame 3: of the frames in training the last one is the nearest.
        np.testing.assert_array_equal(pair.retrieved_attributes, labels_of("a/v/1", 39))
        np.testing.assert_array_equal(pair.retrieved, decode_image(encode_jpeg(picture_of("a/v/1", 39))))
    (val,) = [pair for pair in EvaluationPairs(made, groups=["val"], per_track=80) if pair.key.endswith("@10")]
    # At 25 frames a second those up to 34 are too near in time; 0.02 for each frame from 3 on.
    assert val.retrieved_attributes[0] == pytest.approx(0.65, abs=0.011)
    short = write_dataset(tmp_path / "short", {"val": [("d/v/1", range(12), False)]})
    assert all(pair.retrieved is None for pair in EvaluationPairs(short))


def test_sequences_are_consecutive_frames_of_the_pairs_tracks(tmp_path: Path) -> None:
    made = write_dataset(
        tmp_path,
        {
            "train": [("a/v/1", range(60), False)],
            "val": [("d/v/1", range(0, 80, 2), False), ("e/v/1", range(6), False), ("f/v/1", range(30), False)],
        },
    )
    sequences = EvaluationPairs(made, per_track=2).sequences()
    found = {(each.group, each.pairs[0].source_key, each.pairs[0].track): each for each in sequences}
    assert {key[0] for key in found} == {"val", "cross"}
    frames = [int(pair.key.split("@")[-1]) for pair in found["val", "d/v/1#0@2", "d/v/1#0"].pairs]
    assert frames == list(range(4, 4 + 2 * SEQUENCE_FRAMES, 2)), "the longest run, at the track's own step"
    assert ("val", "e/v/1#0@3", "e/v/1#0") not in found, "too short"
    sequence = found["val", "f/v/1#0@3", "f/v/1#0"]
    smoothed = np.stack([pair.attributes for pair in sequence.smoothed])
    raw = np.stack([pair.attributes for pair in sequence.pairs])
    np.testing.assert_allclose(smoothed[1, 0], raw[:3, 0].mean())
    assert [pair.key for pair in sequence.smoothed] == [pair.key for pair in sequence.pairs]


def test_pairs_of_one_source_come_one_after_another(dataset: Dataset) -> None:
    keys = [(pair.group, pair.source_key) for pair in EvaluationPairs(dataset)]
    assert len([key for key, after in zip(keys, [*keys[1:], None], strict=True) if key != after]) == len(set(keys))
    assert len(EvaluationPairs(dataset)) == len(keys)


def test_limits_spread_evenly(dataset: Dataset) -> None:
    pairs = list(EvaluationPairs(dataset, groups=["held_out", "val"], per_track=3, tracks=1))
    assert [pair.key.split(">")[1] for pair in pairs] == [
        *(f"a/v/1#0@{frame}" for frame in (20, 22, 25)),
        *(f"d/v/1#0@{frame}" for frame in (0, 6, 11)),
    ]


def test_equal_lists_have_equal_hashes_and_others_other_ones(dataset: Dataset, tmp_path: Path) -> None:
    first = EvaluationPairs(dataset)
    assert EvaluationPairs(Dataset.open(dataset.url)).hash == first.hash
    assert EvaluationPairs(dataset, per_track=2).hash != first.hash
    assert EvaluationPairs(dataset, groups=["val"]).hash != first.hash
    meta = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**meta, "options": {"size": SIZE, "seed": 1}}))
    assert EvaluationPairs(Dataset.open(dataset.url)).hash != first.hash


def test_a_data_set_without_such_pairs_is_refused(tmp_path: Path) -> None:
    small = write_dataset(tmp_path, {"train": [("a/v/1", range(5), False)]})
    with pytest.raises(IcfaceError, match=r"no pairs of the kinds held_out, val, cross"):
        EvaluationPairs(small)
    with pytest.raises(IcfaceError, match="unknown kind of pairs 'self'"):
        EvaluationPairs(small, groups=["self"])


def test_tracks_whose_most_neutral_frame_is_turned_away_are_left_out_and_counted(tmp_path: Path) -> None:
    # Frames from 30 on are turned by 31 degrees and more.
    data = write_dataset(tmp_path, {"val": [("d/v/1", range(12), False), ("e/v/1", range(30, 40), False)]})
    pairs = EvaluationPairs(data, groups=["val"])
    assert {pair.track for pair in pairs} == {"d/v/1#0"}
    assert pairs.left_out == ["e/v/1#0"]
    assert EvaluationPairs(data, groups=["val"], tracks=1).left_out == []
