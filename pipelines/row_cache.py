"""Local copies of row groups whose data set lies far away: a folder of bounded size that a node's processes share.

It keeps row groups rather than whole shards, because training reads them at random. A shard would be fetched for one of
them. In a folder smaller than the data set it would be gone before the next. A copy is an Arrow file that is mapped
into memory, so that a read touches the pictures that it draws and no others.
"""

import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from icface.errors import IcfaceError
from pipelines.storage import TEMPORARY

ENDING = ".arrow"
TOTAL = "bytes"
"""Holds the sum of the copies' sizes."""
KEPT_SHARE = 0.9
"""Share of the limit that is left by a clearing, so that not every copy has to clear."""
ABANDONED_SECONDS = 3600.0
"""A file that was begun so long ago was left by a process that was killed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowCache:
    """The folder, and how large it may grow. Can be pickled; safe for several processes at once.

    The copies used longest ago make room for new ones.
    """

    folder: Path
    limit: int
    """Bytes of all copies together."""

    def prepare(self) -> None:
        """Make the folder on this node. Raises IcfaceError when that cannot be done."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                pass
        except OSError as error:
            raise IcfaceError(f"--cache {self.folder} cannot be written: {error.strerror or error}") from None

    def name(self, dataset: str, file: str, ordinal: int, columns: Sequence[str] | None) -> str:
        """The copy's name of a row group of the data set with that hash, and of these columns."""
        what = "\0".join([file, str(ordinal), *(columns or ["*"])])
        return f"{dataset[:16]}/{hashlib.sha256(what.encode()).hexdigest()[:32]}{ENDING}"

    def get(self, name: str) -> pa.Table | None:
        """The copy of that name, mapped into memory; None when there is none."""
        path = self.folder / name
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowInvalid):  # a node that lost its power wrote half of it
            path.unlink(missing_ok=True)
            return None
        return table

    def put(self, name: str, table: pa.Table) -> None:
        """Keep a copy. A full disk does not end a training: it goes on without."""
        target = self.folder / name
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:12]}{TEMPORARY}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            with self._alone():
                if self._room(partial.stat().st_size) and not target.exists():
                    self._count(partial.stat().st_size)
                    os.replace(partial, target)
        except OSError as error:
            log.warning("no copy is kept in %s: %s", self.folder, error)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process of the node at a time; the lock of a killed one is free at once."""
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _total(self) -> int | None:
        try:
            return int((self.folder / TOTAL).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _count(self, more: int) -> None:
        (self.folder / TOTAL).write_text(str((self._total() or 0) + more))

    def _room(self, size: int) -> bool:
        """Whether a copy of `size` bytes fits; those used longest ago are removed when it does not."""
        total = self._total()
        if total is not None and total + size <= self.limit:
            return True
        if size > self.limit:
            return False
        copies = []
        for path in self.folder.glob(f"*/*{ENDING}*"):
            facts = path.stat()
            if path.suffix == ENDING:
                copies.append((facts.st_mtime_ns, facts.st_size, path))
            elif time.time() - facts.st_mtime > ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        total = sum(copy[1] for copy in copies)
        if total + size > self.limit:
            for _, bytes_, path in sorted(copies):
                path.unlink(missing_ok=True)
                total -= bytes_
                if total + size <= KEPT_SHARE * self.limit:
                    break
        (self.folder / TOTAL).write_text(str(total))
        return total + size <= self.limit
