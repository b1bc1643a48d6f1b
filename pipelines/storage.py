"""Files, local or on any fsspec store: atomic writes, listing, joining."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from icface.errors import IcfaceError
from icface.files import replacing

TEMPORARY = ".tmp"
"""Ending of files that are being written; nothing that ends so is ever read."""


def filesystem(url: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that `url` names and the path in it, without a slash at the end.

    A local path is made absolute. Raises IcfaceError for an unknown protocol or one whose package is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(os.path.expanduser(str(url)))  # noqa: PTH111 - a URL is not a path
    except ImportError as error:
        raise IcfaceError(f"{url} needs a package that is not installed: {error}") from None
    except (ValueError, OSError) as error:
        raise IcfaceError(f"{url} cannot be opened: {error}") from None
    return fs, path.rstrip("/") or "/"


@dataclass(frozen=True)
class Folder:
    """A folder on some file system; every path given to its methods is relative to it. Can be pickled."""

    url: str
    fs: fsspec.AbstractFileSystem
    root: str

    @classmethod
    def at(cls, url: str | Path) -> "Folder":
        """The folder that `url` names; it need not exist."""
        fs, root = filesystem(url)
        return cls(str(url), fs, root)

    @property
    def local(self) -> bool:
        """Whether it lies on a disk of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def absolute(self) -> str:
        """The folder's URL, or its absolute path where it is local."""
        return self.root if self.local else self.url

    @property
    def parent(self) -> "Folder":
        """The folder around this one, or around the file that this one is named after."""
        url = self.root if self.local else self.url.rstrip("/")
        return Folder(url.rpartition("/")[0] or "/", self.fs, self.root.rpartition("/")[0] or "/")

    def path(self, name: str) -> str:
        """The full path of `name`. Raises ValueError when it would leave the folder."""
        parts = name.split("/")
        if name.startswith("/") or ".." in parts:
            raise ValueError(f"{name!r} leaves the folder")
        return f"{self.root}/{name}" if name else self.root

    def absolute_path(self, name: str) -> str:
        """The URL of `name`, or its absolute path where the folder is local."""
        path = self.path(name)
        return path if self.local else f"{self.url.rstrip('/')}/{name}"

    @property
    def empty(self) -> bool:
        """Whether there is no file and no folder in it now, or it does not exist."""
        self.fs.invalidate_cache()
        return not (self.fs.exists(self.root) and self.fs.ls(self.root))

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of that name now."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(self.path(name)))

    def names(self, folder: str = "", suffix: str = "") -> list[str]:
        """Names of the files directly in `folder` that end with `suffix`, sorted; empty when it does not exist."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return []
        names = (entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "file")
        return sorted(name for name in names if name.endswith(suffix) and not name.endswith(TEMPORARY))

    def read(self, name: str) -> bytes:
        """Contents of a file. Raises FileNotFoundError."""
        return bytes(self.fs.cat_file(self.path(name)))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        with self.writing(name) as path:
            path.write_bytes(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write to; it becomes the file `name` when the block ends without an error.

        Locally that is a rename within the folder, elsewhere one put, so that no reader sees half a file. No file is
        made when the block writes none.
        """
        target = self.path(name)
        if self.local:
            with replacing(target, TEMPORARY) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="icface-") as folder:
            temporary = Path(folder) / "file"
            yield temporary
            if temporary.exists():
                self.fs.put_file(str(temporary), target)

    @contextmanager
    def alone(self, among: bool = False) -> Iterator[None]:
        """Hold the folder, where it is local, as long as the block runs; with `among` beside others of that kind.

        A process that dies holds nothing. Raises IcfaceError when another holds it, or it cannot be made.
        """
        if not self.local:
            yield
            return
        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            place = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise IcfaceError(f"{self.url} cannot be written: {error.strerror}; choose another folder") from None
        try:
            fcntl.flock(place, (fcntl.LOCK_SH if among else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(place)
            if error.errno not in (errno.EAGAIN, errno.EACCES):  # a file system that knows no locks
                yield
                return
            raise IcfaceError(f"another icface command is writing {self.url}: wait until it has ended") from None
        try:
            yield
        finally:
            os.close(place)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it; nothing happens when it is not there."""
        self.fs.invalidate_cache()
        if self.fs.exists(self.path(name)):
            self.fs.rm(self.path(name), recursive=True)

    def remove_temporary(self, stems: Container[str] | None = None) -> None:
        """Remove what a killed writer left behind; with `stems` only of files of these names, up to their first dot."""
        if self.local:
            for path in Path(self.root).rglob(f"*{TEMPORARY}"):
                if stems is None or path.name.split(".")[0] in stems:
                    path.unlink(missing_ok=True)
