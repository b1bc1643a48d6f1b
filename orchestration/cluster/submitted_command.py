"""What must be right about a command before it can be a job: paths that the cluster sees, records that outlive it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from icface import starter
from icface.errors import IcfaceError

COMMANDS = ("preprocess", "train", "evaluate", "animate", "run", "dataset")
CLUSTER = ("preprocess", "train", "dataset synthesise")
"""Commands that work on the whole cluster and are told to join it."""
RECORDED = ("train", "evaluate", "run", "dataset forget")
"""Commands that ask the tracking server, whatever model they are given."""
ONE_GPU = ("evaluate", "animate")
"""Commands that use a GPU, with `--gpu`, in the job's own process."""
KEPT: Mapping[str, tuple[str, ...]] = {"train": ("--storage",), "animate": ("-o", "--output")}
"""Options that say where the result goes. What goes to the job's own folder is removed with it."""
PATHS = (
    *("--storage", "--init-from", "--json", "--html", "--source", "--openface-root", "--motion"),
    *("--drive", "--keyframes", "--pose-from", "--eyes-from", "--mouth-from", "--brows-from", "--nose-from"),
    *("-o", "--output", "--save-attributes", "--plot", "--sign-key", "--sign-certificates"),
)
"""Options whose value is a path."""
OWN = "source"
"""In place of a driver, as in `--eyes-from source`: no path."""
STOP_SECONDS = {"train": 300, "run": 300}
"""How long a job that is stopped may take to end, in which a training writes its checkpoint. Others: `STOP_SOON`."""
STOP_SOON = 20


def prepared(command: Sequence[str], tracking: str) -> list[str]:
    """The words of the command as a job runs it; `tracking`: the URI of the job's tracking server.

    Raises IcfaceError for a command that cannot be a job and for a path that only this machine sees. It is raised too
    for a result or records that would be lost with the job.
    """
    if not command or command[0] not in COMMANDS:
        raise IcfaceError(
            f"submit takes one of the commands {', '.join(COMMANDS)}, as: icface submit train DATASET ..."
        )
    words = list(command)
    if "-h" in words or "--help" in words:
        raise IcfaceError(f"the options of a command are shown here, not by a job: icface {words[0]} --help")
    name = _name(words)
    for word in _paths(words, 2 if words[0] == "dataset" else 1):
        _check_seen(word)
    kept = KEPT.get(name, ())
    if kept and not any(word.split("=")[0] in kept for word in words):
        raise IcfaceError(
            f"the result of {name} would go to the job's own folder on the cluster and be removed with it: add "
            f"{kept[0]} with a path that the cluster sees, as in /data/results or s3://BUCKET/results"
        )
    recorded = name in RECORDED or any(word.startswith(("models:/", "runs:/")) for word in words)
    if recorded and not tracking.startswith(("http://", "https://", "databricks")):
        raise IcfaceError(
            f"the job would keep its records in {tracking or 'a folder of its own'}, which goes with it or which only "
            "one node sees: export MLFLOW_TRACKING_URI=http://SERVER:5000"
        )
    if name in CLUSTER and not any(word.split("=")[0] == "--address" for word in words):
        words += ["--address", "auto"]
    return words


def gpus(words: Sequence[str]) -> int:
    """GPUs that the job's own process needs."""
    return int(words[0] in ONE_GPU and "--gpu" in words)


def stop_seconds(words: Sequence[str]) -> int:
    """How long the job may take to end once it is asked to."""
    return STOP_SECONDS.get(words[0], STOP_SOON)


def _name(words: Sequence[str]) -> str:
    """The command with its verb, as in `dataset forget`."""
    if words[0] != "dataset":
        return words[0]
    if len(words) < 2 or words[1].startswith("-"):
        raise IcfaceError("submit dataset: name what is to be done, as in: icface submit dataset verify DATASET")
    return f"dataset {words[1]}"


def _paths(words: Sequence[str], first: int) -> Iterator[str]:
    """The words that are paths: those before the first option, from `first` on, and the values of `PATHS`."""
    options = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    yield from words[first:options]
    for place in range(options, len(words)):
        name, separator, value = words[place].partition("=")
        if name not in PATHS:
            continue
        if separator:
            yield value
        elif place + 1 < len(words) and words[place + 1] != OWN:
            yield words[place + 1]


def _check_seen(word: str) -> None:
    """Refuse a relative path: a job works in a folder that holds this project's code alone. Raises IcfaceError."""
    if word != starter.NAME and not (Path(word).is_absolute() or ":/" in word):
        raise IcfaceError(
            f"{word}: the job would look for it in its own folder on the cluster, not here; give a path that the "
            "cluster sees, as in /data/faces or s3://BUCKET/faces"
        )
