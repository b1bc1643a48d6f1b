"""Training pairs out of a data set: source and driving frames of one track, drawn without any state.

The batch of a step is a function of (data set, config, seed, step) alone. Steps come in blocks of
`pairs_per_row_group`: a block reads `batch_size` row groups of as many identities as there are. It takes one pair of
each row group for each of its steps. So a row group is read once for several pairs, and no batch repeats a person. Of
several data sets (`pipelines.loading.mixture`) each has its share of a block's row groups. A rank reads and decodes
only its slice of each batch. To know what there is, training opens `index.parquet` and no other footer; reading a row
group opens its file.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from icface.attributes import AttributeSchema, label_names
from icface.errors import IcfaceError
from icface.images import decode_jpeg, resize
from icface.training.augmentation import View, turned
from icface.training.batch import Batch
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.loading.mixture import Mixture
from pipelines.loading.row_group_reader import RowGroupReader, RowGroupSample
from pipelines.loading.row_groups import TrainingRowGroups, shared_slots

Arrays = dict[str, np.ndarray]
PICTURES = ("source", "driving", "neutral")
SAMPLED_GROUPS = 64
"""Row groups from which the attributes' standard deviations are taken."""


@dataclass(frozen=True)
class Draw:
    """The random numbers of one step, for every slot of the whole batch; all in 0..1."""

    balanced: npt.NDArray[np.float64]
    driving: npt.NDArray[np.float64]
    source: npt.NDArray[np.float64]
    flip: npt.NDArray[np.float64]
    turns: npt.NDArray[np.float64]
    """(B, 2) of the source and the driving frame."""

    @classmethod
    def of(cls, seed: int, step: int, batch: int) -> "Draw":
        """The numbers of one step's `batch` pairs: a function of `seed` and `step` alone."""
        # One generator a step: making one a pair takes as long as a quarter of a picture's decoding.
        balanced, driving, source, flip, *turns = np.random.default_rng((seed, 2, step)).random((6, batch))
        return cls(balanced, driving, source, flip, np.stack(turns, axis=1))


class PairBatches(TorchDataset[Arrays]):
    """Batches of one rank, step by step; iterate over `batches`.

    Beneath them are blocks of consecutive steps, each made on its own in any order by any process. `blocks` names those
    that cover the steps, and `block(number)` makes one. Where it crosses processes, `arrays` and `in_steps` do so.

    Raises IcfaceError when the data set has no training rows.
    """

    def __init__(
        self,
        dataset: Dataset | Mixture,
        config: DataConfig,
        schema: AttributeSchema,
        size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
        steps: int,
    ) -> None:
        if config.batch_size % world_size:
            raise IcfaceError(
                f"data.batch_size {config.batch_size} cannot be shared by {world_size} workers; choose a multiple"
            )
        self.config = config
        self.schema = schema
        self.size = size
        self.seed = seed
        self.first_step, self.steps = first_step, steps
        share = config.batch_size // world_size
        self.slots = range(rank * share, (rank + 1) * share)
        self._columns = np.array([label_names(config.sides).index(name) for name in schema.names])
        mixture = Mixture.of(dataset)
        self._shares = [part.share for part in mixture.parts]
        self._readers = [RowGroupReader(part.dataset, config, part.ignored) for part in mixture.parts]
        self._groups = [TrainingRowGroups(part.dataset) for part in mixture.parts]
        names = [groups.identities for groups in self._groups]
        self.identities: tuple[str, ...] = tuple(dict.fromkeys(name for people in names for name in people))
        """Of the training, in the order of their indices in `Batch.identity`. One name, one person."""
        places = {name: index for index, name in enumerate(self.identities)}
        self._identity = [np.array([places[name] for name in people], np.int64) for people in names]

    def batches(self) -> Iterator[Batch]:
        """This rank's slice of each step's batch, from `first_step` to the last step."""
        workers = self.config.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=self.blocks,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            # A forked reader would inherit locks of the training process' threads.
            multiprocessing_context="spawn" if workers else None,
            # Blocks come out as tensors; in page-locked memory a GPU fetches them while it computes.
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
        )
        for block in loader:
            yield from self.in_steps(block)

    @property
    def blocks(self) -> range:
        """Numbers of the blocks that cover the steps from `first_step` to the last."""
        length = self.config.pairs_per_row_group
        return range(self.first_step // length, -(-self.steps // length))

    def block(self, number: int) -> list[Batch]:
        """This rank's slices of the batches of one block's steps, but for those before `first_step`."""
        return list(self.in_steps(self.arrays(number)))

    def arrays(self, number: int) -> Arrays:
        """The same as plain arrays, under the names of `Batch`.

        Arrays have the dimensions (steps, share of the batch, ...); pictures are (steps, share, S, S, 3) uint8 RGB.
        A function of (data set, config, seed, number) and the rank's slots.
        """
        length = self.config.pairs_per_row_group
        steps = range(max(number * length, self.first_step), min((number + 1) * length, self.steps))
        draws = [Draw.of(self.seed, step, self.config.batch_size) for step in steps]
        chosen = self._row_groups_of(number)
        arrays = self._empty(len(steps))
        for place, slot in enumerate(self.slots):
            source, identity, group = chosen[slot]
            sample = self._readers[source].sample(*self._groups[source].place(group))
            arrays["identity"][:, place] = identity
            arrays["has_neutral"][:, place] = sample.neutral is not None
            neutral = None if sample.neutral is None else self._decode(sample, sample.neutral)
            for index, draw in enumerate(draws):
                self._fill(arrays, (index, place), sample, draw, slot, neutral)
        for name in ("source", "driving"):
            raw = arrays.pop(f"{name}_raw")
            encoded, _ = self.schema.encode(raw.reshape(-1, raw.shape[-1]))
            arrays[f"{name}_encoded"] = encoded.reshape(*raw.shape[:2], -1)
            arrays[f"{name}_measured"] = self.schema.measured(raw)
        return arrays

    __getitem__ = arrays

    def in_steps(self, block: Arrays) -> Iterator[Batch]:
        """The batches of a block, step by step; their pictures are views of it in channels-last order."""
        tensors = {name: torch.as_tensor(array) for name, array in block.items()}
        for name in PICTURES:
            tensors[name] = tensors[name].permute(0, 1, 4, 2, 3)
        for index in range(len(tensors["identity"])):
            yield Batch(**{name: tensor[index] for name, tensor in tensors.items()})

    def deviations(self) -> npt.NDArray[np.float32]:
        """(n,) standard deviation of each coded attribute over a fixed sample of the training row groups."""
        samples = []
        for groups, reader, share in zip(self._groups, self._readers, self._shares, strict=True):
            count = max(1, round(share * SAMPLED_GROUPS))
            chosen = np.random.default_rng(self.seed).permutation(len(groups))[:count]
            samples += [reader.sample(*groups.place(group)) for group in sorted(chosen)]
        labels = np.concatenate([sample.labels for sample in samples])[:, self._columns]
        coded, _ = self.schema.encode(labels)
        coded = np.where(self.schema.measured(labels), coded, np.nan)
        return np.array([np.nanstd(column) if np.isfinite(column).any() else 0.0 for column in coded.T], np.float32)

    def _row_groups_of(self, number: int) -> list[tuple[int, int, int]]:
        """Data set, identity and row group of each slot of the whole batch, for one block of steps."""
        sources = shared_slots(self._shares, self.config.batch_size, np.random.default_rng((self.seed, 3, number)))
        chosen: list[tuple[int, int, int]] = [(0, 0, 0)] * len(sources)
        for source, groups in enumerate(self._groups):
            slots = np.flatnonzero(sources == source)
            drawn = groups.draw(np.random.default_rng((self.seed, 1, number, *[source] * (source > 0))), len(slots))
            for slot, (person, group) in zip(slots.tolist(), drawn, strict=True):
                chosen[slot] = (source, int(self._identity[source][person]), group)
        return chosen

    def _empty(self, steps: int) -> Arrays:
        shape, n = (steps, len(self.slots)), len(self.schema)
        return {
            **{name: np.empty((*shape, self.size, self.size, 3), np.uint8) for name in PICTURES},
            "has_neutral": np.empty(shape, bool),
            "source_raw": np.empty((*shape, n), np.float32),
            "driving_raw": np.empty((*shape, n), np.float32),
            **{f"{name}_landmarks": np.empty((*shape, 68, 2), np.float32) for name in PICTURES},
            "identity": np.empty(shape, np.int64),
        }

    def _fill(
        self,
        arrays: Arrays,
        place: tuple[int, int],
        sample: RowGroupSample,
        draw: Draw,
        slot: int,
        neutral: npt.NDArray[np.uint8] | None,
    ) -> None:
        """Draw one pair of a row group and put it at its place in the arrays of the block."""
        config, count = self.config, len(sample.chances)
        if draw.balanced[slot] < config.balanced_share:
            driving = min(int(np.searchsorted(sample.chances, draw.driving[slot], side="right")), count - 1)
        else:
            driving = int(draw.driving[slot] * count)
        source = int(draw.source[slot] * (count - 1))
        source += source >= driving
        flip = bool(config.flip and draw.flip[slot] < 0.5)
        turns = turned(draw.turns[slot], config.rotate)
        for name, row, turn in (("source", source, turns[0]), ("driving", driving, turns[1])):
            view = View(flip, turn)
            arrays[name][place] = view.picture(self._decode(sample, row))
            arrays[f"{name}_raw"][place] = view.labels(sample.labels[row])[self._columns]
            arrays[f"{name}_landmarks"][place] = view.landmarks(sample.landmarks[row].astype(np.float32))
        if neutral is None or sample.neutral is None:
            for of in ("neutral", "neutral_landmarks"):
                arrays[of][place] = arrays[of.replace("neutral", "source")][place]
        else:
            view = View(flip, 0.0)  # a neutral face is upright, so the neutraliser learns to turn it back
            arrays["neutral"][place] = view.picture(neutral)
            arrays["neutral_landmarks"][place] = view.landmarks(sample.landmarks[sample.neutral].astype(np.float32))

    def _decode(self, sample: RowGroupSample, row: int) -> npt.NDArray[np.uint8]:
        return resize(decode_jpeg(sample.jpeg(row)), self.size)


def _one_thread(_: int) -> None:
    """In each reading process: there are as many of them as cores, and OpenCV would start as many threads in each."""
    cv2.setNumThreads(0)
