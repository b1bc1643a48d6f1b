"""Files that appear whole or not at all, with the permissions that the user's umask asks for."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well; what is left of it is removed.

    `suffix` ends the temporary name, for writers that go by it. Its folder is made. Nothing happens when the block
    writes no file. Raises OSError.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.stem}-{uuid.uuid4().hex[:12]}{suffix}"
    try:
        yield temporary
        if temporary.exists():
            follow_umask(temporary)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def follow_umask(path: str | Path) -> None:
    """Give a file the permissions of a new one: some writers make theirs readable to their owner alone."""
    os.chmod(path, 0o666 & ~_umask())  # noqa: PTH101


def _umask() -> int:
    """The umask, without the moment in which another thread would see a different one."""
    try:
        with open("/proc/self/status") as status:  # noqa: PTH123
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        mask = os.umask(0o022)
        os.umask(mask)
        return mask
