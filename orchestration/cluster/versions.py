"""What code runs: the commit of this project, and the versions of what decides a result."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMIT_VARIABLE = "ICFACE_COMMIT"
"""Names the commit where the code is not a checkout: in a job that was submitted, in an image."""
DECIDING = ("torch", "ray", "mlflow", "numpy", "pyarrow", "mediapipe", "opencv-contrib-python")
"""Packages whose versions change data, models or how nodes talk to each other."""


def commit(root: Path | None = None) -> str | None:
    """The commit of this code, or of that in `root`, with `+` when there are changes; None when nothing tells it."""
    git = ["git", "-C", str(root or Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get(COMMIT_VARIABLE) or None
    return head + ("+" if changed.strip() else "")


def versions() -> dict[str, str]:
    """Versions of Python and of `DECIDING` by name; `none` for what is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in DECIDING}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
