"""Which row groups of a data set a training draws, and which slots of a batch are whose."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from pipelines.dataset import Dataset


class TrainingRowGroups:
    """The row groups of the training split, by person. Can be pickled; holds plain arrays.

    VoxCeleb2 has a million row groups, and every reading process gets a copy.
    """

    def __init__(self, dataset: Dataset) -> None:
        """Raises IcfaceError when the data set has no training rows."""
        groups = dataset.row_group_table("train")
        # Stable, so that one data set gives one order, and the groups of a person lie side by side.
        groups = groups[groups["rows"] > 1].sort_values("identity", kind="stable")
        if not len(groups):
            raise IcfaceError(f"{dataset.url} has no training frames; look at it with: icface inspect {dataset.url}")
        self._files, self._file = np.unique(groups["file"].astype(str), return_inverse=True)
        self._ordinal = groups["ordinal"].to_numpy(np.int32)
        identities, first = np.unique(groups["identity"].astype(str), return_index=True)
        self.identities: tuple[str, ...] = tuple(identities.tolist())
        """Sorted."""
        self._first = np.append(first, len(groups))
        # Within a person a row group is drawn by its number of rows.
        self._rows_before = np.append(0, np.cumsum(groups["rows"].to_numpy(np.int64)))

    def __len__(self) -> int:
        return len(self._file)

    def place(self, group: int) -> tuple[str, int]:
        """File and ordinal of a row group."""
        return str(self._files[self._file[group]]), int(self._ordinal[group])

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        """`count` pairs of a person (index in `identities`) and a row group of that person.

        Whole rounds over all people before any comes twice.
        """
        people = len(self.identities)
        rounds = [rng.permutation(people) for _ in range(-(-count // people))]
        chosen = np.concatenate([np.empty(0, np.int64), *rounds])[:count]
        low, high = self._rows_before[self._first[chosen]], self._rows_before[self._first[chosen + 1]]
        rows = low + (rng.random(len(chosen)) * (high - low)).astype(np.int64)
        groups = np.searchsorted(self._rows_before, rows, side="right") - 1
        return list(zip(chosen.tolist(), groups.tolist(), strict=True))


def shared_slots(shares: Sequence[float], slots: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(slots,) which of several sources each slot belongs to, in random order.

    Each source gets its share rounded up or down, so that the mean over many draws is the share itself.

    >>> sorted(shared_slots([0.75, 0.25], 8, np.random.default_rng(0)).tolist())
    [0, 0, 0, 0, 0, 0, 1, 1]
    """
    if len(shares) == 1:
        return np.zeros(slots, np.int64)
    places = (np.arange(slots) + rng.random()) / slots
    sources = np.searchsorted(np.cumsum(shares)[:-1], places, side="right")
    return rng.permutation(sources).astype(np.int64)
