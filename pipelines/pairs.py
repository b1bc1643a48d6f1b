"""Training pairs out of a data set: source and driving frames of one track, drawn without any state.

The batch of a step is a function of (data set, config, seed, step) alone. Steps come in blocks of
`pairs_per_visit`: a block visits `batch` row groups of as many identities as there are and takes one pair of each
visit for each of its steps, so that a row group is read once for several pairs while a batch does not repeat a
person. A rank decodes only its slice of each batch. Training opens `index.parquet` and no other footer.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, IterableDataset

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.errors import IcfaceError
from icface.images import decode_image, decode_thumbnail, resize
from icface.labels import neutral_frames, rarity, smooth, typical
from icface.training.augmentation import View
from icface.training.batch import Batch
from icface.training.config import DataConfig
from pipelines.dataset import Dataset, RowGroup

COLUMNS = ("frame", "image", "landmarks", *ATTRIBUTE_NAMES)
KEPT_GROUPS = 64
"""Row groups that a reading process keeps in memory (about 2 MB each at 128 px)."""
SAMPLED_GROUPS = 64
"""Row groups from which the attributes' standard deviations are taken."""


@dataclass(frozen=True)
class Visit:
    """A row group as training sees it: the frames that may be trained on."""

    images: list[bytes]
    labels: npt.NDArray[np.float32]
    """(N, 20) raw, smoothed."""
    landmarks: npt.NDArray[np.float32]
    """(N, 68, 2) fractions of the crop."""
    neutral: int | None
    """Row of the near-neutral frame that is most like the others; None when there is none."""
    chances: npt.NDArray[np.float64]
    """(N,) chance of each row to be a balanced driving frame."""


class PairBatches(IterableDataset[list[Batch]]):
    """Batches of one rank, step by step; iterate over `batches`.

    Raises IcfaceError when the data set has no training rows.
    """

    def __init__(
        self,
        dataset: Dataset,
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
        super().__init__()
        if config.batch % world_size:
            raise IcfaceError(f"data.batch {config.batch} cannot be shared by {world_size} workers; choose a multiple")
        self.dataset = dataset
        self.config = config
        self.schema = schema
        self.size = size
        self.seed = seed
        self.first_step, self.steps = first_step, steps
        share = config.batch // world_size
        self.slots = range(rank * share, (rank + 1) * share)
        self.groups: dict[str, list[RowGroup]] = defaultdict(list)
        for group in dataset.row_groups("train"):
            if group.rows > 1:
                self.groups[group.identity].append(group)
        if not self.groups:
            raise IcfaceError(f"{dataset.url} has no training frames; look at it with: icface inspect {dataset.url}")
        self.identities = tuple(sorted(self.groups))
        self._class = {identity: index for index, identity in enumerate(self.identities)}
        self._kept: OrderedDict[RowGroup, Visit] = OrderedDict()

    def batches(self) -> Iterator[Batch]:
        """This rank's slice of each step's batch, from `first_step` to the last step."""
        workers = self.config.workers
        loader = DataLoader(
            self,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            # A forked reader would inherit locks of the training process' threads.
            multiprocessing_context="spawn" if workers else None,
        )
        for block in loader:
            yield from block

    def __iter__(self) -> Iterator[list[Batch]]:
        """Blocks of consecutive steps; a loader's worker takes every so-manieth block."""
        worker = torch.utils.data.get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        for block in self.blocks[number::count]:
            yield self.block(block)

    @property
    def blocks(self) -> range:
        """The blocks of steps that are to be trained on."""
        length = self.config.pairs_per_visit
        return range(self.first_step // length, -(-self.steps // length))

    def block(self, number: int) -> list[Batch]:
        """This rank's slices of the batches of one block's steps, but for those before `first_step`."""
        length = self.config.pairs_per_visit
        steps = range(max(number * length, self.first_step), min((number + 1) * length, self.steps))
        groups = self._visits(number)
        return [self._batch(step, groups) for step in steps]

    def deviations(self) -> npt.NDArray[np.float32]:
        """(n,) standard deviation of each coded attribute over a fixed sample of the training row groups."""
        groups = [group for identity in self.identities for group in self.groups[identity]]
        chosen = np.random.default_rng(self.seed).permutation(len(groups))[:SAMPLED_GROUPS]
        labels = np.concatenate([self._visit(groups[index]).labels for index in sorted(chosen)])
        coded, _ = self.schema.code(labels)
        coded = np.where(self.schema.measured(labels), coded, np.nan)
        return np.array([np.nanstd(column) if np.isfinite(column).any() else 0.0 for column in coded.T], np.float32)

    def _visits(self, block: int) -> list[RowGroup]:
        """The row group of each slot of the whole batch, for one block of steps."""
        rng = np.random.default_rng((self.seed, 1, block))
        count = len(self.identities)
        # Whole rounds over all identities before any comes twice.
        rounds = [rng.permutation(count) for _ in range(-(-self.config.batch // count))]
        chosen = np.concatenate(rounds)[: self.config.batch]
        visits = []
        for index in chosen:
            groups = self.groups[self.identities[index]]
            rows = np.array([group.rows for group in groups], np.float64)
            visits.append(groups[rng.choice(len(groups), p=rows / rows.sum())])
        return visits

    def _batch(self, step: int, groups: list[RowGroup]) -> Batch:
        pairs = [self._pair(step, slot, groups[slot]) for slot in self.slots]
        return Batch(**{name: torch.from_numpy(np.stack([pair[name] for pair in pairs])) for name in pairs[0]})

    def _pair(self, step: int, slot: int, group: RowGroup) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, 2, step, slot))
        visit = self._visit(group)
        count = len(visit.images)
        balanced = rng.random() < self.config.balanced_share
        driving = int(rng.choice(count, p=visit.chances) if balanced else rng.integers(count))
        source = int(rng.integers(count - 1))
        source += source >= driving
        flip = bool(self.config.flip and rng.random() < 0.5)
        has_neutral = visit.neutral is not None
        neutral = source if visit.neutral is None else visit.neutral
        turns = np.deg2rad(rng.uniform(-self.config.rotate, self.config.rotate, 2))
        views = {
            "source": View(flip, turns[0]),
            "driving": View(flip, turns[1]),
            # A neutral face is upright, so the neutraliser learns to turn it back.
            "neutral": View(flip, 0.0 if has_neutral else turns[0]),
        }
        rows = {"source": source, "driving": driving, "neutral": neutral}
        pair: dict[str, np.ndarray] = {
            name: views[name].picture(resize(decode_image(visit.images[row]), self.size)).transpose(2, 0, 1).copy()
            for name, row in rows.items()
        }
        for name in ("source", "driving"):
            labels = views[name].labels(visit.labels[rows[name]])[None]
            pair[f"{name}_code"] = self.schema.code(labels)[0][0]
            pair[f"{name}_measured"] = self.schema.measured(labels)[0]
        pair["has_neutral"] = np.array(has_neutral)
        pair["landmarks"] = views["driving"].landmarks(visit.landmarks[driving])
        pair["identity"] = np.array(self._class[group.identity])
        return pair

    def _visit(self, group: RowGroup) -> Visit:
        visit = self._kept.pop(group, None)
        if visit is None:
            visit = self._read(group)
            if len(self._kept) >= KEPT_GROUPS:
                self._kept.popitem(last=False)
        self._kept[group] = visit
        return visit

    def _read(self, group: RowGroup) -> Visit:
        table = self.dataset.read(group, columns=list(COLUMNS))
        raw = np.stack([table[name].to_numpy() for name in ATTRIBUTE_NAMES], axis=1).astype(np.float32)
        labels = smooth(table["frame"].to_numpy(), raw, self.config.smoothing_frames)
        landmarks = table["landmarks"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        images = table["image"].to_pylist()
        near = neutral_frames(labels)
        thumbnails = np.array([decode_thumbnail(images[row]) for row in near])
        return Visit(
            images=images,
            labels=labels,
            landmarks=landmarks.reshape(-1, 68, 2).astype(np.float32),
            neutral=int(near[typical(thumbnails)]) if len(near) else None,
            chances=rarity(labels),
        )
