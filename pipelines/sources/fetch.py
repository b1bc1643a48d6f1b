"""Clips as local files."""

import os
import shutil
from pathlib import Path

from pipelines.sources.clip import VIDEO_SUFFIXES, Clip
from pipelines.sources.leftovers import escaped, unescaped
from pipelines.storage import Folder

TABLE_SUFFIX = ".csv"


def home(source: Folder) -> Folder:
    """The folder that the paths of a source's clips are relative to: the source, or the one around a single file."""
    name = source.root.rsplit("/", 1)[-1].lower()
    if name.endswith((*VIDEO_SUFFIXES, TABLE_SUFFIX)) and not source.fs.isdir(source.root):
        return source.parent
    return source


def located(folder: Folder, path: str) -> tuple[Folder, str]:
    """The folder and the name in it of a clip's `path`, which a csv may give in full."""
    if "://" in path or path.startswith("/"):
        whole = Folder.at(path)
        return whole.parent, whole.root.rsplit("/", 1)[-1]
    return folder, path


def _readable(path: Path, scratch: Path) -> Path:
    """`path`, or a link to it of a name that every decoder takes, where its name on disk is not UTF-8."""
    if os.path.lexists(path) or (real := Path(unescaped(str(path)))) == path:
        path.stat()
        return path
    real.stat()
    link = scratch / f"clip{escaped(path.suffix)}"
    link.unlink(missing_ok=True)
    link.symlink_to(real)
    return link


class ClipFiles:
    """Hands out clips as local paths. Of remote ones the last is kept: clips cut out of one video follow each other."""

    def __init__(self, source: Folder) -> None:
        self.folder = home(source)
        self._held: tuple[str, Path] | None = None

    def path(self, clip: Clip, scratch: Path) -> Path:
        """The clip's file or folder of pictures; a remote one is copied into the folder `scratch`.

        Valid until the next call. Raises OSError when it cannot be had.
        """
        folder, name = located(self.folder, clip.path)
        if folder.local:
            return _readable(Path(folder.path(name)), scratch)
        target = scratch / "fetched" / name.rsplit("/", 1)[-1]
        if self._held != (clip.path, target) or not target.exists():
            shutil.rmtree(target.parent, ignore_errors=True)
            target.parent.mkdir()
            # At the store only a folder of pictures is not a file.
            folder.fs.get(folder.path(name), str(target), recursive=not folder.fs.isfile(folder.path(name)))
            self._held = (clip.path, target)
        return target
