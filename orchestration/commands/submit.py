"""`icface submit COMMAND ... --address http://HEAD:8265`, and `icface submit status|stop JOB`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from icface.errors import IcfaceError
from orchestration.commands import parse
from orchestration.terminal import Reporter

USAGE = """usage: icface submit preprocess|train|evaluate ... --address http://HEAD:8265 [--no-wait] [--env NAME ...]
                     [--requirements FILE]
       icface submit status|stop JOB --address http://HEAD:8265

The same command as a Ray job on a cluster. Its output is shown until it ends; --no-wait only prints the job's id.
Variables of the tracking server and the storage go with it when they are set here; --env NAME adds another;
their values are in no log. Packages of --requirements FILE, or of requirements.txt here, are installed for the job."""


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Where a job goes."""

    address: str
    """The head's job server, http://HEAD:8265."""
    no_wait: bool = False
    """Print the job's id and leave."""
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Name of a variable that the job gets as it is set here."""
    requirements: str | None = None
    """File of packages that the job needs besides this project's; by default requirements.txt, where there is one."""


@dataclass(frozen=True, kw_only=True)
class One:
    """One job."""

    job: Annotated[str, tyro.conf.Positional]
    """The id that `icface submit` printed."""
    address: str
    """The head's job server, http://HEAD:8265."""


def main(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        if not argv:
            raise SystemExit(2)
        return
    from orchestration.cluster import submission

    with Reporter() as reporter:
        if argv[0] in ("status", "stop"):
            one = parse(One, argv[1:], f"submit {argv[0]}", positional=False)
            found = (submission.stop if argv[0] == "stop" else submission.state)(one.address, one.job)
            reporter.result(job=found.id, status=found.status, message=found.message, command=found.command)
            return
        ours, command = _parted(argv)
        options = parse(Submit, ours, "submit", positional=False)
        environment = submission.passed_on(options.env)
        job = submission.submit(options.address, command, environment, options.requirements)
        given = ", ".join(environment) or "none"
        reporter.say(f"{job} is submitted to {options.address}; variables that it gets: {given}", job=job)
        if options.no_wait:
            reporter.result(job=job)
            return
        found = submission.follow(options.address, job, sys.stdout.write)
        if found.status != "SUCCEEDED":
            raise IcfaceError(f"the job {job} ended as {found.status}; its last lines say why")
        reporter.result(job=job, status=found.status)


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our options, wherever they stand, and the command's words. An http address is ours.

    >>> _parted(["train", "s3://d", "--address", "http://h:8265", "--gpu", "--no-wait"])
    (['--address', 'http://h:8265', '--no-wait'], ['train', 's3://d', '--gpu'])
    """
    ours: list[str] = []
    command: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--no-wait":
            ours.append(word)
        elif word in ("--address", "--env", "--requirements"):
            ours += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(("--address=", "--env=", "--requirements=")):
            ours.append(word)
        else:
            command.append(word)
    if not command:
        print(USAGE, file=sys.stderr)
        raise SystemExit(2)
    return ours, command
