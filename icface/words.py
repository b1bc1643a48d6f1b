"""Small words for people: counts with their nouns, and commands that work here."""

import shlex
import sys
from pathlib import Path


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, in the singular where it is one.

    >>> counted(1, "frame"), counted(2, "frame"), counted(0, "identity", "identities")
    ('1 frame', '2 frames', '0 identities')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def python_command(*words: str) -> str:
    """A command for the Python that runs now, as it is typed in the working directory."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), *words])


def pip_install(*packages: str) -> str:
    """The command that installs packages for the Python that runs now, in a checkout as elsewhere."""
    return python_command("-m", "pip", "install", *packages)
