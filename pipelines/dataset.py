"""Reading a data set. Needs no Ray.

Opening reads `dataset.json` and `index.parquet`; a row group is read by the footer of its own file alone.
"""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icface.attributes import AttributeSchema
from icface.crop import CropRule
from icface.errors import IcfaceError, first_line
from pipelines.format import CLIPS, DROPPED, SPLITS, VERSION, read_table
from pipelines.row_cache import RowCache
from pipelines.storage import Folder

META = "dataset.json"
INDEX = "index.parquet"
OPTIONS = "options.json"
"""What a data set was begun with; written before anything else."""
MADE_BY = "made_by"
"""In the options of a data set that was made of others, the command that made it: clips cannot be added to it."""
RELABELLING = "relabelling"
"""Mark of a data set of which some shards have new labels and some old ones."""
OPEN_FILES = 16
"""Parquet files of a distant data set that a reader keeps open; each holds some MiB that were read ahead."""
MAPPED_FILES = 128
"""Those of a local one, which are mapped into memory. Opening one took 0.8 ms."""


def check_finished(folder: Folder) -> None:
    """Raise IcfaceError where no job has ever ended: what is there cannot be changed, only finished."""
    if not folder.exists(META):
        raise IcfaceError(
            f"{folder.url} is not a finished data set: `icface preprocess SOURCE {folder.url}` finishes it"
        )


@dataclass(frozen=True, order=True)
class RowGroup:
    """Consecutive frames of one track, at most 512, that are read together."""

    file: str
    """Parquet file, relative to the data set."""
    ordinal: int
    """Which row group of the file."""
    split: str
    identity: str
    clip: str
    track: int
    rows: int
    held_out: bool = False
    """Whether its frames are kept from training: the last tenth of a long training track."""


GROUP_COLUMNS = [item.name for item in fields(RowGroup)]
NAME_COLUMNS = ["file", "split", "identity", "clip"]


class Dataset:
    """A data set that `icface preprocess` wrote, open for reading.

    Can be pickled: the copy reads rows, but does not hold the list of row groups, which is long.
    """

    def __init__(
        self, folder: Folder, meta: dict[str, Any], groups: pa.Table, sha256: str, cache: RowCache | None
    ) -> None:
        """Use `Dataset.open`."""
        self._folder = folder
        self.url = folder.url
        self.meta = meta
        """`dataset.json`."""
        self._groups: pa.Table | None = groups
        self.hash = sha256
        """Of `dataset.json`, hexadecimal."""
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._cache = cache
        if cache is not None:
            cache.prepare()

    @classmethod
    def open(cls, url: str, cache: RowCache | None = None) -> "Dataset":
        """The data set at `url`, a path or fsspec URL; row groups that are read are kept in `cache`.

        Raises IcfaceError when there is none, it is not finished, or it has another format.
        """
        folder = Folder.at(url)
        try:
            data = folder.read(META)
            groups = read_table(folder.read(INDEX), columns=GROUP_COLUMNS, read_dictionary=NAME_COLUMNS)
        except FileNotFoundError:
            if folder.exists("clips"):
                raise IcfaceError(f"{url} is not finished: run `icface preprocess` again, it goes on") from None
            raise IcfaceError(f"{url} is not a data set: `icface preprocess SOURCE {url}` makes one") from None
        except (OSError, pa.ArrowInvalid) as error:
            raise IcfaceError(f"{url} cannot be read: {first_line(error)}") from None
        try:
            meta = json.loads(data)
            version = meta["format"]
        except (ValueError, KeyError, TypeError):
            raise IcfaceError(f"{url}/{META} is damaged: run `icface preprocess` again") from None
        if version != VERSION:
            raise IcfaceError(f"{url} has format {version}, and this icface reads format {VERSION}")
        return cls(folder, meta, groups, hashlib.sha256(data).hexdigest(), cache)

    @property
    def index(self) -> pd.DataFrame:
        """`index.parquet`: one row a row group, with the statistics of every attribute."""
        return read_table(self._folder.read(INDEX)).to_pandas()

    @property
    def schema(self) -> AttributeSchema:
        """The attributes with the share of the training frames on which each was measured."""
        return AttributeSchema.from_json(self.meta["attributes"])

    @property
    def crop_rule(self) -> CropRule:
        """How the pictures were cut out."""
        return CropRule.from_json(self.meta["crop"])

    @property
    def analyzer(self) -> dict[str, Any]:
        """`name`, `options` and `fingerprint` of who measured (`icface.analyzers.record`)."""
        return dict(self.meta["analyzer"])

    @property
    def sides_fit(self) -> bool:
        """Whether stored blendshapes have the labels' scale: `relabel` leaves MediaPipe's beside OpenFace's labels."""
        return bool(self.analyzer.get("name") != "openface")

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return int(self.meta["options"]["size"])

    @property
    def truth(self) -> tuple[str, ...]:
        """Which parts of `pipelines.format.TRUTH` its frames have; none of real clips."""
        return tuple(self.meta["options"].get("truth", ()))

    @property
    def licence(self) -> str:
        """Licence of the clips."""
        return str(self.meta["licence"])

    def row_groups(self, split: str, held_out: bool = False) -> list[RowGroup]:
        """The row groups of a split in the order of clip and frame.

        By default those that may be trained on (of `train`) or looked at (of `val`, `test`); `held_out=True` gives
        the held-out ones of `train` instead. Raises ValueError for an unknown split.
        """
        table = self.row_group_table(split, held_out)
        return [RowGroup(*row) for row in table.astype(object).itertuples(index=False, name=None)]

    def all_row_groups(self) -> list[RowGroup]:
        """The row groups of all splits, those of held-out frames too."""
        return [group for split in SPLITS for held_out in (False, True) for group in self.row_groups(split, held_out)]

    def row_group_table(self, split: str, held_out: bool = False) -> pd.DataFrame:
        """What `row_groups` lists as a table with the fields of `RowGroup` as columns; its strings are categories.

        Raises ValueError for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        assert self._groups is not None, "a data set that was pickled reads rows only"
        chosen = (pc.field("split") == split) & (pc.field("held_out") == held_out)
        return self._groups.filter(chosen).to_pandas()

    def read(self, row_group: RowGroup, columns: list[str] | None = None) -> pa.Table:
        """The rows of a row group in the order of their frames, all columns or those named."""
        return self.read_rows(row_group.file, row_group.ordinal, columns)

    def read_rows(self, file: str, ordinal: int, columns: list[str] | None = None) -> pa.Table:
        """The same of the row group `ordinal` of `file`."""
        if self._cache is None:
            return self._file(file).read_row_group(ordinal, columns=columns, use_threads=False)
        name = self._cache.name(self.hash, file, ordinal, columns)
        table = self._cache.get(name)
        if table is None:
            table = self._file(file).read_row_group(ordinal, columns=columns, use_threads=False)
            self._cache.put(name, table)
        return table

    def clips(self) -> pd.DataFrame:
        """One row a clip that was found, sorted by clip. Reasons that came after the data set was made count 0."""
        names = self._folder.names("clips", ".parquet")
        tables = [read_table(self._folder.read(f"clips/{name}")) for name in names]
        table = pa.concat_tables(tables, promote_options="default") if tables else CLIPS.empty_table()
        found = table.sort_by("clip").to_pandas()
        reasons = [f"dropped_{name}" for name in DROPPED]
        return found.assign(**{name: 0 if name not in found else found[name].fillna(0).astype(int) for name in reasons})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_groups": None}

    def _file(self, name: str) -> pq.ParquetFile:
        file = self._open.pop(name, None)
        if file is None:
            try:
                path = self._folder.path(name)
                if self._folder.local:  # mapped: two thirds of the time that reading through Python takes
                    file = pq.ParquetFile(path, memory_map=True)
                else:
                    file = pq.ParquetFile(self._folder.fs.open(path, "rb"))
            except (OSError, pa.ArrowInvalid) as error:
                raise IcfaceError(f"{self.url}/{name} cannot be read: {first_line(error)}") from None
            if len(self._open) >= (MAPPED_FILES if self._folder.local else OPEN_FILES):
                self._open.popitem(last=False)[1].close(force=True)
        self._open[name] = file
        return file
