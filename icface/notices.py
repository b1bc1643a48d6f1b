"""Keeping what a library's C++ part prints on every start off standard error."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def without_notices(notices: Sequence[bytes]) -> Iterator[None]:
    """Leave out the lines on standard error that contain one of `notices`; all others follow at the block's end.

    For lines that no setting turns off: the file descriptor itself is set aside, since C++ does not ask `sys.stderr`.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file:
                if not any(notice in line for notice in notices):
                    os.write(2, line)
