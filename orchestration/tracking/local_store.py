"""MLflow's sqlite file beside a project: whether it can be used as it is, and mending it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from icface.errors import IcfaceError

ARTIFACTS = "mlartifacts"
EXPERIMENT = "icface"
BACKUP = ".before-fix"
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns that hold the full addresses of artifacts."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What keeps a store from being used."""

    said: str
    mend: str
    fixable: bool = False
    """Whether `fix` mends it."""


def trouble(path: Path) -> Trouble | None:
    """What is wrong with the sqlite file `path`; None when nothing is, or it is not there yet."""
    if not path.exists():
        return None
    try:
        found = _experiment(path)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        mend = f"end the process that holds it (`fuser {path}` names it), or set MLFLOW_TRACKING_URI to a server"
        return Trouble(said=f"{path}: {error}", mend=mend)
    except sqlite3.DatabaseError as error:
        return Trouble(said=f"{path}: {error}", mend="move it away; the next run makes a new one")
    if found is None:
        return None
    location, stage = found
    if (old := _moved_from(path, location)) is not None:
        return Trouble(said=f"{path} was moved from {old}", mend="icface doctor --fix", fixable=True)
    if stage == "deleted":
        said = f"the experiment {EXPERIMENT} in {path} was deleted"
        return Trouble(said=said, mend="icface doctor --fix", fixable=True)
    return None


def other_version(revision: str, uri: str) -> str:
    """What to do about a store whose tables are those of `revision`, and not of the installed MLflow."""
    import mlflow

    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if any(migrations.glob(f"{revision}_*.py")):
        return f"an older MLflow made it: make a copy, then run `mlflow db upgrade {uri}`"
    return (
        f"a newer MLflow than {mlflow.__version__} made it: install that one (pip install -U mlflow), "
        "or set MLFLOW_TRACKING_URI to another store"
    )


def check_place(path: Path) -> None:
    """Refuse a store whose project was moved: artifacts would be looked for, and written, at the old place.

    Raises IcfaceError that says what mends it.
    """
    found = trouble(path)
    if found is not None and "deleted" not in found.said:
        raise IcfaceError(f"{found.said}: {found.mend}")


def fix(path: Path) -> list[str]:
    """Mend the store; returns what was done, a sentence each. A copy of the file as it was is kept beside it."""
    found = _experiment(path) if path.exists() else None
    if found is None:
        return []
    location, stage = found
    done = []
    with closing(sqlite3.connect(path)) as store:
        old = _moved_from(path, location)
        if old is not None or stage == "deleted":
            with closing(sqlite3.connect(f"{path}{BACKUP}")) as copy:
                store.backup(copy)
        if old is not None:
            new = path.parent / ARTIFACTS
            for before, after in ((location, new.as_uri()), (str(old / ARTIFACTS), str(new))):
                for table, column in _places(store):
                    # Ours are whole addresses: what begins with the old one.
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, len(before), before),
                    )
            done.append(f"artifacts are looked for in {new} now, not in {old / ARTIFACTS}")
        if stage == "deleted":
            rows = store.execute("SELECT experiment_id FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
            store.execute("UPDATE experiments SET lifecycle_stage = 'active' WHERE experiment_id = ?", rows)
            store.execute(
                "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE experiment_id = ?", rows
            )
            done.append(f"the experiment {EXPERIMENT} and its runs are restored")
        store.commit()
    return done


def _experiment(path: Path) -> tuple[str, str] | None:
    """Artifact location and lifecycle stage of our experiment."""
    # Opened to write, though it only reads: a process that was killed while it wrote leaves a journal beside the file,
    # and only a writer may roll that back. sqlite opens a file that may not be written for reading.
    with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=20)) as store:
        query = "SELECT artifact_location, lifecycle_stage FROM experiments WHERE name = ?"
        row = store.execute(query, (EXPERIMENT,)).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def _moved_from(path: Path, location: str) -> Path | None:
    """Where the project was when its artifacts' location was written, if that is not where it is."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    artifacts = Path(unquote(parts.path))
    here = path.absolute().parent
    if artifacts.name != ARTIFACTS or artifacts.parent == here or artifacts.parent.resolve() == here.resolve():
        return None
    return artifacts.parent


def _places(store: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Those of `PLACES` that this version of MLflow has."""
    for table, column in PLACES:
        if any(row[1] == column for row in store.execute(f"PRAGMA table_info({table})")):
            yield table, column
