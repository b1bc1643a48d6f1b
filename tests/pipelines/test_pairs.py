"""Training batches: the same whatever the number of ranks, readers and restarts."""

import numpy as np
import pytest
import torch

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.training.batch import Batch
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.pairs import PairBatches


@pytest.fixture(scope="module")
def dataset(small_dataset) -> Dataset:
    return Dataset.open(str(small_dataset))


def batches_of(dataset: Dataset, config: DataConfig | None = None, **changes) -> PairBatches:
    config = config or DataConfig(batch=4, rotate=10.0)
    return PairBatches(dataset, config, dataset.schema, 32, **{"seed": 3, "steps": 12, **changes})


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_shapes_and_masks(dataset: Dataset):
    batch = next(iter(batches_of(dataset).batches()))
    assert batch.source.shape == batch.driving.shape == (4, 3, 32, 32)
    assert batch.source.dtype == torch.uint8
    assert batch.driving_code.shape == (4, 20)
    assert (batch.driving_code >= 0).all()
    assert (batch.driving_code <= 1).all()
    never = ATTRIBUTE_NAMES.index("AU14")
    assert not batch.driving_measured[:, never].any()
    assert batch.driving_measured[:, ATTRIBUTE_NAMES.index("AU12")].all()
    neutral = dataset.schema.neutral_code()[never]
    assert torch.allclose(batch.driving_code[:, never], torch.tensor(neutral))


def test_same_seed_same_batches_other_seed_others(dataset: Dataset):
    one, again, other = (list(batches_of(dataset, seed=seed).batches()) for seed in (3, 3, 4))
    assert len(one) == 12
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not all(same(a, b) for a, b in zip(one, other, strict=True))


def test_ranks_share_each_batch(dataset: Dataset):
    whole = list(batches_of(dataset).batches())
    parts = [list(batches_of(dataset, rank=rank, world_size=2).batches()) for rank in range(2)]
    for step, batch in enumerate(whole):
        for name, value in vars(batch).items():
            joined = torch.cat([getattr(part[step], name) for part in parts])
            assert torch.equal(value, joined), name


@pytest.mark.parametrize("first", [1, 8, 11])
def test_a_later_start_goes_on_with_the_same_batches(dataset: Dataset, first: int):
    whole = list(batches_of(dataset).batches())
    rest = list(batches_of(dataset, first_step=first).batches())
    assert len(rest) == 12 - first
    assert all(same(a, b) for a, b in zip(whole[first:], rest, strict=True))


def test_reading_processes_change_nothing(dataset: Dataset):
    alone = list(batches_of(dataset, steps=4).batches())
    config = DataConfig(batch=4, rotate=10.0, workers=1)
    assert all(same(a, b) for a, b in zip(alone, batches_of(dataset, config, steps=4).batches(), strict=True))


def test_a_batch_holds_both_people_equally_often(dataset: Dataset):
    for batch in batches_of(dataset).batches():
        assert sorted(batch.identity.tolist()) == [0, 0, 1, 1]


def test_deviations_against_numpy(dataset: Dataset):
    pairs = batches_of(dataset, DataConfig(batch=4, smoothing_frames=1))
    rows = [dataset.read(group) for group in dataset.row_groups("train")]
    raw = np.concatenate([np.stack([table[n].to_numpy() for n in ATTRIBUTE_NAMES], axis=1) for table in rows])
    yaw = dataset.schema.index("pose_yaw")
    expected = raw[:, yaw].clip(-0.7, 0.7).std() / 1.4
    assert pairs.deviations()[yaw] == pytest.approx(expected, rel=1e-4)
    assert pairs.deviations()[dataset.schema.index("AU14")] == 0


def test_a_batch_that_cannot_be_shared(dataset: Dataset):
    with pytest.raises(IcfaceError, match=r"data\.batch 4 cannot be shared by 3 workers"):
        batches_of(dataset, world_size=3)
