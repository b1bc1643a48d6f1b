"""Several data sets in one training: shares, people, attributes, and what is refused."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.training.config import DataConfig
from pipelines.dataset import META, Dataset
from pipelines.loading.mixture import OTHER_MEANING, Mixture
from pipelines.loading.pairs import PairBatches
from pipelines.loading.row_group_reader import RowGroupReader
from pipelines.loading.row_groups import shared_slots
from pipelines.loading.validation_frames import validation_frames

CONFIG = DataConfig(batch_size=8, rotate=10.0)


@pytest.fixture(scope="module")
def mixture(small_dataset: Path, synthetic_dataset: Path) -> Mixture:
    return Mixture.open(str(small_dataset), [f"{synthetic_dataset}:0.3"])


def batches_of(dataset, **changes) -> PairBatches:
    return PairBatches(dataset, CONFIG, dataset.schema, 32, **{"seed": 3, "steps": 400, **changes})


def changed(source: Path, target: Path, **facts) -> str:
    """A copy of a data set whose dataset.json says something else."""
    shutil.copytree(source, target)
    meta = json.loads((target / META).read_text()) | facts
    (target / META).write_text(json.dumps(meta))
    return str(target)


def test_one_data_set_alone_is_a_mixture_of_one(small_dataset: Path):
    dataset = Dataset.open(str(small_dataset))
    alone = Mixture.open(str(small_dataset))
    assert (alone.hash, alone.schema, alone.licence, alone.others) == (
        dataset.hash,
        dataset.schema,
        dataset.licence,
        (),
    )
    one, other = (batches_of(each, steps=8).arrays(0) for each in (dataset, alone))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_each_data_set_has_its_share_of_the_pairs(mixture: Mixture):
    pairs = batches_of(mixture)
    assert len(pairs.identities) == 4, "two real people, and the two synthetic ones in training"
    chosen = [entry for block in pairs.blocks for entry in pairs._row_groups_of(block)]
    assert np.mean([source for source, _, _ in chosen]) == pytest.approx(0.3, abs=0.02)
    per_block = Counter(sum(source for source, _, _ in pairs._row_groups_of(block)) for block in pairs.blocks)
    assert set(per_block) == {2, 3}, "0.3 of 8 is 2.4"
    people = {source: {person for which, person, _ in chosen if which == source} for source in (0, 1)}
    assert people == {0: {0, 1}, 1: {2, 3}}, "nobody of one data set has the index of somebody of the other"
    first = {slot for block in pairs.blocks for slot, entry in enumerate(pairs._row_groups_of(block)) if entry[0]}
    assert first == set(range(8)), "every rank gets some of both"


def test_exact_labels_are_not_smoothed(small_dataset: Path, synthetic_dataset: Path):
    for folder, exact in ((small_dataset, False), (synthetic_dataset, True)):
        dataset = Dataset.open(str(folder))
        group = dataset.row_groups("train")[0]
        raw, ready = (
            RowGroupReader(dataset, DataConfig(smoothing_frames=frames)).sample(group.file, group.ordinal).labels
            for frames in (1, 5)
        )
        assert np.array_equal(raw, ready, equal_nan=True) == exact


def test_slots_are_shared_without_bias():
    rng = np.random.default_rng(0)
    counts = [np.bincount(shared_slots([0.5, 0.3, 0.2], 4, rng), minlength=3) for _ in range(4000)]
    assert np.mean(counts, axis=0) / 4 == pytest.approx([0.5, 0.3, 0.2], abs=0.01)
    assert np.max(counts, axis=0).tolist() == [2, 2, 1]


def test_ranks_and_restarts_see_the_same_batches(mixture: Mixture):
    whole = list(batches_of(mixture, steps=12).batches())
    parts = [list(batches_of(mixture, steps=12, rank=rank, world_size=2, first_step=5).batches()) for rank in range(2)]
    for step, batch in enumerate(whole[5:]):
        for name, value in vars(batch).items():
            assert torch.equal(value, torch.cat([getattr(part[step], name) for part in parts])), name


def test_what_one_cannot_measure_is_learned_from_the_other(mixture: Mixture):
    schema = mixture.schema
    dimple, smile, cheeks = (schema.attributes[schema.index(name)] for name in ("AU14", "AU12", "AU06"))
    assert dimple.trained
    assert dimple.measured_share == pytest.approx(0.3)
    assert smile.measured_share == 1
    assert smile.seen is not None
    both = [part.dataset.schema.attributes[schema.index("AU12")].seen for part in mixture.parts]
    assert smile.seen.p99 == max(seen.p99 for seen in both if seen)
    assert cheeks.measured_share == pytest.approx(0.7), "of synthetic people it is another quantity than MediaPipe's"
    block = batches_of(mixture, steps=8).arrays(0)
    synthetic = block["identity"][0] >= 2
    for name, on_real, on_synthetic in (("AU14", False, True), ("AU12", True, True), (OTHER_MEANING[0], True, False)):
        measured = block["driving_measured"][0][:, ATTRIBUTE_NAMES.index(name)]
        assert measured[~synthetic].all() == measured[~synthetic].any() == on_real, name
        assert measured[synthetic].all() == measured[synthetic].any() == on_synthetic, name


def test_validation_looks_at_people_of_both(mixture: Mixture):
    frames = validation_frames(mixture, CONFIG, mixture.schema, 32)
    assert frames is not None
    assert len(frames.identity.unique()) == 2, "held-out frames of a real person, and a synthetic person of val"


def test_facts_and_licence_of_both(mixture: Mixture, small_dataset: Path):
    assert [fact["licence"] for fact in mixture.facts()] == ["test licence", "CC0-1.0"]
    assert mixture.licence == "test licence"
    assert mixture.analyzer["name"] == "mediapipe"
    assert mixture.hash != mixture.first.hash
    other = Mixture.open(str(small_dataset), [mixture.others[0].replace("0.3", "0.4")])
    assert other.hash != mixture.hash, "another share is another training"
    turned = Mixture.open(mixture.parts[1].dataset.url, [f"{small_dataset}:0.5"])
    assert turned.analyzer["name"] == "mediapipe", "who measures portraits, also where synthetic people come first"


@pytest.mark.parametrize("text", ["data", "data:1", "data:0", "data:lots", ":0.3", "data:-0.1", "data:nan"])
def test_no_share_is_one_line(small_dataset: Path, text: str):
    with pytest.raises(IcfaceError, match="give a data set and its share"):
        Mixture.open(str(small_dataset), [text])


def test_shares_must_leave_some_for_the_first(small_dataset: Path, synthetic_dataset: Path):
    with pytest.raises(IcfaceError, match="must leave some for"):
        Mixture.open(str(small_dataset), [f"{synthetic_dataset}:0.5", f"{synthetic_dataset}:0.5"])


def test_what_does_not_fit_is_refused_by_name(small_dataset: Path, synthetic_dataset: Path, tmp_path: Path):
    meta = Dataset.open(str(synthetic_dataset)).meta
    attributes = [
        entry | ({"high": 4.0} if entry["name"] == "AU12" else {}) | {"seen": None} for entry in meta["attributes"]
    ]
    cases = {
        "cropped as": {"crop": meta["crop"] | {"mode": "track"}},
        "24 px": {"options": meta["options"] | {"size": 24}},
        "attributes AU12": {"attributes": attributes},
        "by MediaPipe": {"analyzer": {"name": "openface", "options": {}, "fingerprint": "openface csv"}},
    }
    for number, (words, facts) in enumerate(cases.items()):
        url = changed(synthetic_dataset, tmp_path / str(number), **facts)
        with pytest.raises(IcfaceError, match=words) as error:
            Mixture.open(str(small_dataset), [f"{url}:0.3"])
        assert url in str(error.value)
        assert str(small_dataset) in str(error.value)


@pytest.mark.parametrize("crop", [{"mode": "centred"}, {"smoothing_seconds": 0.3}], ids=str)
def test_synthetic_people_go_with_any_crop_that_follows_the_face(
    crop: dict, small_dataset: Path, synthetic_dataset: Path, tmp_path: Path
):
    """Their frames are the squares: nothing to smooth, no edge. Two data sets of real clips must have one rule."""
    rule = Dataset.open(str(small_dataset)).meta["crop"] | crop
    real = changed(small_dataset, tmp_path / "real", crop=rule)
    mixed = Mixture.open(real, [f"{synthetic_dataset}:0.3"])
    assert mixed.first.crop_rule.to_json() == rule
    with pytest.raises(IcfaceError, match="cropped as"):
        Mixture.open(real, [f"{small_dataset}:0.3"])
    wider = changed(synthetic_dataset, tmp_path / "wider", crop=rule | {"scale": 2.0})
    with pytest.raises(IcfaceError, match="cropped as"):
        Mixture.open(real, [f"{wider}:0.3"])


def test_a_person_on_both_sides_of_the_split_is_refused(synthetic_dataset: Path, tmp_path: Path):
    from pipelines.curation.derive import split

    other = str(tmp_path / "turned")
    split(str(synthetic_dataset), other, 0.0)
    with pytest.raises(IcfaceError, match=r"synthetic-5-\d+ is val in .* and train in"):
        Mixture.open(str(synthetic_dataset), [f"{other}:0.5"])
