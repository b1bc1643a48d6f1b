"""The checkpoints in a run's folder: `checkpoint_00001000/training.pt`, each whole or not there, the newest two kept.

We keep them ourselves. Ray Train copies a checkpoint file by file to its final name, and rewrites the list of them in
place. A kill in between leaves half a checkpoint, or a list from which no run starts again.
"""

import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icface.errors import IcfaceError, first_line
from icface.training.checkpoint import FILE, Save
from pipelines.storage import TEMPORARY, Folder

KEPT = 2
_NAME = re.compile(r"checkpoint_(\d{8})")


class Checkpoints:
    """The checkpoints of one run; one process at a time writes."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps after which there is a checkpoint, in order."""
        self.folder.fs.invalidate_cache()
        try:
            paths = self.folder.fs.ls(self.folder.root, detail=False)
        except FileNotFoundError:
            return []
        found = (_NAME.fullmatch(path.rstrip("/").rsplit("/", 1)[-1]) for path in paths)
        return sorted(int(match[1]) for match in found if match)

    def newest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self.steps(), default=None)

    def write(self, step: int, save: Save) -> None:
        """Have `save` write a checkpoint into the folder that it is given, and keep it; older ones go.

        Raises IcfaceError when it cannot be stored; what was stored before is still there.
        """
        try:
            if self.folder.local:
                self._write_here(step, save)
            else:
                with tempfile.TemporaryDirectory(prefix="icface-checkpoint-") as place:
                    save(Path(place))
                    self.folder.fs.put_file(str(Path(place) / FILE), self.folder.path(f"{_name(step)}/{FILE}"))
        except Exception as error:  # torch and every store raise what they like
            raise IcfaceError(self._sentence(step, error)) from None
        for old in self.steps()[:-KEPT]:
            self._remove(_name(old))

    @contextmanager
    def reading(self, step: int) -> Iterator[Path]:
        """A local folder with the checkpoint of that step."""
        if self.folder.local:
            yield Path(self.folder.path(_name(step)))
            return
        with tempfile.TemporaryDirectory(prefix="icface-checkpoint-") as place:
            self.folder.fs.get_file(self.folder.path(f"{_name(step)}/{FILE}"), str(Path(place) / FILE))
            yield Path(place)

    def tidy(self) -> None:
        """Remove what a killed writer left behind."""
        if self.folder.local:
            for path in Path(self.folder.root).glob(f"*{TEMPORARY}"):
                shutil.rmtree(path, ignore_errors=True)

    def _write_here(self, step: int, save: Save) -> None:
        target = Path(self.folder.path(_name(step)))
        if target.exists():  # written before a restart; the same step has the same state
            return
        place = self._aside(step)
        try:
            place.mkdir(parents=True)
            save(place)
            with (place / FILE).open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(place, target)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _remove(self, name: str) -> None:
        if not self.folder.local:
            self.folder.remove(name)
            return
        place = self._aside(0)
        os.replace(self.folder.path(name), place)
        shutil.rmtree(place, ignore_errors=True)

    def _aside(self, step: int) -> Path:
        return Path(self.folder.path(f"{_name(step)}.{uuid.uuid4().hex[:12]}{TEMPORARY}"))

    def _sentence(self, step: int, error: Exception) -> str:
        last = self.newest()
        kept = "there is none before it" if last is None else f"the one of step {last} is whole"
        reason = first_line(error)
        mend = "mend that"
        if self.folder.local:
            free = shutil.disk_usage(self.folder.root).free
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or free < 2**20:
                reason, mend = "the storage is full", "make room"
        return (
            f"the checkpoint of step {step} cannot be written to {self.folder.url} ({reason}); {kept}: {mend}, then go "
            "on with --resume"
        )


def _name(step: int) -> str:
    return f"checkpoint_{step:08d}"
