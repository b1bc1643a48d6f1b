"""A shard: the clips of one group, written as one Parquet file with its part of the index and of `clips`.

The part of `clips` is written last. A shard is finished when that is there; until then another run may write the
same files again, with the same bytes.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.format import SPLITS
from pipelines.sources import Clip
from pipelines.storage import Folder

RETRY = "retry"
"""Folder of the marks of shards with a clip that the next run is to try again."""


@dataclass(frozen=True)
class Shard:
    """A group of clips of one split."""

    name: str
    split: str
    clips: tuple[Clip, ...]

    @property
    def frames_file(self) -> str:
        """Path of the rows of frames in the data set."""
        return f"frames/split={self.split}/{self.name}.parquet"

    @property
    def index_file(self) -> str:
        """Path of the row groups' index in the data set."""
        return f"index/{self.name}.parquet"

    @property
    def clips_file(self) -> str:
        """Path of the rows of clips in the data set."""
        return f"clips/{self.name}.parquet"


def signature(names: Iterable[str]) -> str:
    """Identifies a data set's contents: the hash of the names of all its shards."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def shard_names(dataset: Folder) -> list[str]:
    """Names of the finished shards of a data set."""
    return [name.removesuffix(".parquet") for name in dataset.names("clips", ".parquet")]


def remove_shard(name: str, dataset: Folder) -> None:
    """Remove a shard; `clips` first, so that what is left of it never counts as finished."""
    dataset.remove(f"clips/{name}.parquet")
    dataset.remove(f"index/{name}.parquet")
    for split in SPLITS:
        dataset.remove(f"frames/split={split}/{name}.parquet")
