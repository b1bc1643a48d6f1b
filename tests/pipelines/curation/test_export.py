import io
import json
from pathlib import Path

import numpy as np
import pytest

from icface.errors import IcfaceError
from icface.images import decode_image
from pipelines.curation.export import export
from pipelines.dataset import Dataset


def stored(url: Path) -> dict[tuple[str, int], dict[str, object]]:
    dataset = Dataset.open(str(url))
    groups = [*dataset.row_groups("train"), *dataset.row_groups("train", held_out=True)]
    rows = [row for group in groups for row in dataset.read(group).to_pylist()]
    return {(row["clip"], row["frame"]): row for row in rows}


def test_datasets_loads_decoded_pictures_and_a_card(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    export(str(small_dataset), "hf", str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    expected = stored(small_dataset)
    assert set(loaded) == {"train"}
    assert loaded["train"].num_rows == len(expected)
    for row in loaded["train"]:
        ours = expected.pop((row["clip"], row["frame"]))
        assert row["image"].size == (32, 32)
        assert row["AU12"] == ours["AU12"]
        assert row["AU14"] is None
        assert np.allclose(row["landmarks"], ours["landmarks"])
    assert not expected
    card = (tmp_path / "out/README.md").read_text()
    assert "test licence" in card
    assert Dataset.open(str(small_dataset)).meta["sources"][0] in card


def test_datasets_loads_the_data_set_itself(small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The card beside its files says where they are and which column is a picture."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded = datasets.load_dataset(str(small_dataset), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train"}
    assert loaded["train"].features["image"] == datasets.Image()
    expected = stored(small_dataset)
    assert loaded["train"].num_rows == len(expected)
    for row in loaded["train"]:
        ours = expected.pop((row["clip"], row["frame"]))
        difference = np.asarray(row["image"], np.int16) - decode_image(ours["image"])
        assert np.abs(difference).max() <= 2  # another JPEG decoder may round otherwise
        assert np.allclose(row["landmarks"], ours["landmarks"])
        assert row["AU14"] is None
    card = (small_dataset / "README.md").read_text()
    assert "test licence" in card
    assert Dataset.open(str(small_dataset)).meta["sources"][0] in card


def test_webdataset_reads_every_frame(small_dataset: Path, tmp_path: Path):
    import webdataset

    export(str(small_dataset), "webdataset", str(tmp_path / "out"))
    expected = stored(small_dataset)
    tars = sorted(map(str, (tmp_path / "out/train").glob("*.tar")))
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        values = json.loads(io.BytesIO(sample["json"]).read())
        ours = expected.pop((values["clip"], values["frame"]))
        assert sample["jpg"] == ours["image"]
        assert decode_image(sample["jpg"]).shape == (32, 32, 3)
        assert values["AU25"] == pytest.approx(ours["AU25"])
        assert values["held_out"] == ours["held_out"]
    assert not expected


def test_a_folder_that_holds_something_is_left_alone(small_dataset: Path, tmp_path: Path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(IcfaceError, match="not empty"):
        export(str(small_dataset), "hf", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("kind", ["webdataset", "hf"])
def test_half_an_export_is_taken_away_and_a_folder_with_anything_in_it_is_refused(
    small_dataset: Path, tmp_path: Path, kind
):
    def stopped(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(str(small_dataset), kind, str(tmp_path / "out"), stopped)
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out/data").mkdir()
    with pytest.raises(IcfaceError, match="is not empty"):
        export(str(small_dataset), kind, str(tmp_path / "out"))
