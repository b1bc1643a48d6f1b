"""How many workers a training may have."""

import pytest

from icface.training.config import TrainConfig
from orchestration.config import TrainJob


@pytest.mark.parametrize(("workers", "expected"), [(2, (2, 2)), ("4", (4, 4)), ("1-4", (1, 4))])
def test_a_number_or_a_range(workers: int | str, expected: tuple[int, int]):
    training = TrainConfig().merge({"data": {"batch_size": 24}})
    assert TrainJob(dataset="d", workers=workers, training=training).worker_range == expected


@pytest.mark.parametrize("workers", [0, "0-2", "3-1", "two", "1-", "-3"])
def test_no_number_of_workers(workers: int | str):
    with pytest.raises(ValueError, match="--workers"):
        TrainJob(dataset="d", workers=workers)


def test_each_number_of_workers_must_divide_the_batch():
    with pytest.raises(
        ValueError, match=r"data.batch_size 16 .* --workers 1-3: take a multiple of 6, as in --data.batch-size 18"
    ):
        TrainJob(dataset="d", workers="1-3")
