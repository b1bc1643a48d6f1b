"""The command line: `icface COMMAND`. Only the command that is asked for is imported."""

import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from icface.errors import IcfaceError, first_line
from orchestration.cluster import job_environment
from orchestration.tracking import credentials

COMMANDS = {
    "preprocess": "turn clips into a Parquet data set of faces, action units and pose",
    "inspect": "show what a data set holds, and what was rejected",
    "dataset": "join, filter, split, check or export data sets, or remove people from one",
    "train": "train a model on a data set, on one or several workers",
    "evaluate": "score a model on frames that it has not seen",
    "animate": "drive a portrait by a video, an image or a csv, and edit attributes",
    "studio": "show a local web page: sliders, films driven by clips, two models side by side",
    "models": "registry: list, show, compare, promote, roll back, retire, export, serve and more",
    "run": "run a workflow file, skipping finished steps",
    "submit": "run a command as a job on a Ray cluster; list, follow and stop such jobs",
    "doctor": "check the installation, and show the command that fixes what is missing",
    "demo": "run every step on two sample clips, in about ten minutes",
}
STYLES = ("plain", "json", "rich")
USAGE = 2
INTERRUPTED = 130
READER_GONE = 141
"""As the shell reports SIGPIPE: whoever read the output has left, as `head` does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0 done, 1 failed (one line on standard error), 2 wrong usage."""
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_gone():
            raise
        # Python flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return status


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    arguments, style = without_style(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USAGE
    name = arguments[0]
    if name == "--version":
        from icface import __version__

        print(f"icface {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"icface: unknown command {name!r}; commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return USAGE
    from orchestration import terminal

    terminal.choose(style)
    try:
        job_environment.load()
        credentials.hide()
        import_module(f"orchestration.commands.{name}").main(arguments[1:])
    except SystemExit as ended:  # tyro ends so after --help (0) and after a usage error (2)
        return ended.code if isinstance(ended.code, int) else USAGE
    except KeyboardInterrupt:
        print(f"icface: {name} was stopped", file=sys.stderr)
        return INTERRUPTED
    except IcfaceError as error:
        if debug:
            raise
        print(f"icface: {job_environment.without_own_folder(str(error))}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug or (isinstance(error, BrokenPipeError) and _reader_gone()):
            raise
        said = f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__
        print(f"icface: {said} (run it with --debug for the traceback)", file=sys.stderr)
        return 1
    finally:
        terminal.choose(None)  # another call in this process may want another style
    return 0


def without_style(arguments: Sequence[str]) -> tuple[list[str], Any]:
    """The arguments without `--output plain|json|rich`, and that style; None where none is named.

    Any other `--output` is the command's own. A job that is submitted gets the style too.

    >>> without_style(["train", "DATA", "--output", "json"]), without_style(["animate", "--output", "o.mp4"])
    ((['train', 'DATA'], 'json'), (['animate', '--output', 'o.mp4'], None))
    """
    kept: list[str] = []
    style = None
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--output" and words and words[0] in STYLES:
            style = words.pop(0)
        elif word.partition("=")[0] == "--output" and word.partition("=")[2] in STYLES:
            style = word.partition("=")[2]
        else:
            kept.append(word)
    if style is not None and kept[:1] == ["submit"] and kept[1:2] and kept[1] not in ("list", "status", "logs", "stop"):
        kept += ["--output", style]
    return kept, style


def _reader_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {words}" for name, words in COMMANDS.items())
    return (
        "usage: icface COMMAND ...\n\nTrain and steer a face: one portrait, 17 action units, 3 head pose angles.\n\n"
        f"{lines}\n\n`icface COMMAND --help` shows the options of a command; `--debug` shows tracebacks.\n"
        "`--output plain|json|rich` chooses how progress and results are shown. By default a terminal gets rich text, "
        "and a file or\npipe JSON lines, one an event."
    )


if __name__ == "__main__":
    sys.exit(main())
