"""Training pairs through Ray Data: CPU nodes read and decode, and feed the processes that train.

The batches are bit-identical to those of `pipelines.loading.pairs`. Ray Data carries the numbers of blocks of steps to
readers, and brings the blocks back in order. Readers make each rank's slices as a `PairBatches` of that rank does.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray.data
import ray.train

from icface.attributes import AttributeSchema
from icface.errors import IcfaceError
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from pipelines.loading.mixture import Mixture
from pipelines.loading.pairs import PairBatches
from pipelines.row_cache import RowCache

BLOCKS_A_TASK = 4
"""Blocks of steps in one task of a reader."""


def blocks_of(config: TrainConfig, first_step: int) -> ray.data.Dataset:
    """The numbers of the blocks of steps that are still to be trained on, in order, as rows `block`."""
    length = config.data.pairs_per_row_group
    first, last = first_step // length, -(-config.steps // length)
    count = max(last - first, 1)
    numbers = ray.data.range(count, override_num_blocks=-(-count // BLOCKS_A_TASK))
    return numbers.map_batches(lambda rows: {"block": rows["id"] + first})


class PairIngest(ray.train.DataConfig):
    """Gives each rank the slices of its own: the ranks' share of a batch depends on how many they are."""

    def __init__(
        self,
        dataset: str,
        mixed_with: Sequence[str],
        cache: RowCache | None,
        config: TrainConfig,
        schema: AttributeSchema,
        readers: int,
    ) -> None:
        """`dataset` and `mixed_with` as `Mixture.open` takes them."""
        options = copy.deepcopy(ray.data.DataContext.get_current().execution_options)
        options.preserve_order = True
        super().__init__(datasets_to_split=[], execution_options=options)
        self.given = (dataset, tuple(mixed_with), cache, config, schema)
        """To every reader."""
        self.readers = readers
        """Processes that read for one rank."""

    def configure(self, datasets: dict[str, Any], world_size: int, *_: Any, **__: Any) -> list[dict[str, Any]]:
        """An iterator over the slices of each rank, under the name that the trainer gave the block numbers."""
        given = []
        for rank in range(world_size):
            iterators = {}
            for name, blocks in datasets.items():
                slices = blocks.map_batches(
                    Decode,
                    fn_constructor_args=(*self.given, rank, world_size),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(size=self.readers),
                    num_cpus=1,
                )
                slices.context.execution_options = self._resolve_execution_options(name)
                iterators[name] = slices.iterator()
            given.append(iterators)
        return given


class Decode:
    """A reader of one rank: block numbers in, the rank's slice of each of their steps' batches out."""

    def __init__(
        self,
        dataset: str,
        mixed_with: Sequence[str],
        cache: RowCache | None,
        config: TrainConfig,
        schema: AttributeSchema,
        rank: int,
        world_size: int,
    ) -> None:
        opened = Mixture.open(dataset, mixed_with, cache)
        self.batches = PairBatches(
            opened,
            config.data,
            schema,
            config.model.size,
            seed=config.seed,
            rank=rank,
            world_size=world_size,
            steps=config.steps,
        )

    def __call__(self, rows: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for number in rows["block"].tolist():
            first = number * self.batches.config.pairs_per_row_group
            block = self.batches.arrays(number)
            for index in range(len(block["identity"])):
                each = {name: array[index : index + 1] for name, array in block.items()}
                yield {"step": np.array([first + index]), **each}


def batches_of(shard: Any, batches: PairBatches) -> Iterator[Batch]:
    """A rank's slices, from its `batches.first_step` on, out of what `ray.train.get_dataset_shard` gave it.

    Raises IcfaceError when a step is missing.
    """
    expected = batches.first_step
    for row in shard.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=2):
        step = int(row.pop("step")[0])
        if step < expected:  # the beginning of a block that a checkpoint cut in two
            continue
        if step != expected:
            raise IcfaceError(f"Ray Data brought step {step} where step {expected} was due")
        # Ray Data's arrays cannot be written to, which torch wants.
        yield from batches.in_steps({name: np.array(array) for name, array in row.items()})
        expected += 1
