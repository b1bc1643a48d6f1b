"""`icface submit COMMAND ... --address http://HEAD:8265`, and `icface submit list|status|logs|stop`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from icface.errors import IcfaceError
from orchestration.commands import parse
from orchestration.terminal import Reporter, duration

USAGE = """usage: icface submit preprocess|train|evaluate|animate|run|dataset ... --address http://HEAD:8265
                     [--no-wait] [--env NAME ...] [--requirements FILE]
       icface submit list --address http://HEAD:8265
       icface submit status|stop JOB --address http://HEAD:8265
       icface submit logs JOB [--follow] --address http://HEAD:8265

The same command as a Ray job on a cluster. Its output is shown until it ends; --no-wait only prints the job's id.
Every path must be one that the cluster sees: the workflow file of `run`, and the output of `animate`, too.
`list` shows the jobs that were submitted so, `logs` what one has written; with --follow, until it ends.
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


@dataclass(frozen=True, kw_only=True)
class Logs(One):
    """The output of a job."""

    follow: bool = False
    """Go on until the job ends. The exit status is 1 unless it succeeded."""


@dataclass(frozen=True, kw_only=True)
class All:
    """All jobs."""

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
        if argv[0] == "list":
            _list(parse(All, argv[1:], "submit list", positional=False), reporter)
            return
        if argv[0] == "logs":
            wanted = parse(Logs, argv[1:], "submit logs", positional=False)
            if wanted.follow:
                _follow(wanted.address, wanted.job, reporter)
            else:
                sys.stdout.write(submission.logs(wanted.address, wanted.job))
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
        _follow(options.address, job, reporter)


def _follow(address: str, job: str, reporter: Reporter) -> None:
    """Show a job's output until it ends. Raises IcfaceError unless it succeeded."""
    from orchestration.cluster import submission

    found = submission.follow(address, job, sys.stdout.write, reporter.say)
    if found.status != "SUCCEEDED":
        raise IcfaceError(f"the job {job} ended as {found.status}; its last lines say why")
    reporter.result(job=job, status=found.status)


def _list(options: All, reporter: Reporter) -> None:
    from orchestration.cluster import submission

    found = submission.jobs(options.address)
    if not found:
        reporter.say(f"no job was submitted to {options.address} by icface submit")
        return
    rows = [
        (
            job.id,
            job.status,
            f"{job.began:%Y-%m-%d %H:%M:%S}" if job.began else "–",
            duration(job.seconds) if job.seconds is not None else "–",
            job.command,
        )
        for job in found
    ]
    reporter.table(f"Jobs of {options.address}", [("job", "status", "submitted", "took", "command"), *rows])


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
