"""`icface doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass

from icface.errors import IcfaceError
from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What is installed, reachable or missing on this machine, or on every node of a cluster."""

    address: str | None = None
    """Look at every node of this Ray cluster: `auto`, HOST or HOST:PORT."""
    dataset: str | None = None
    """With --address: a data set that every node must be able to read."""
    storage: str | None = None
    """With --address: where runs are to be kept; every node writes a file there and must see the others'."""

    fix: bool = False
    """Mend the tracking store of a project that was moved, and restore its deleted experiment."""

    def __post_init__(self) -> None:
        if self.fix and self.address is not None:
            raise ValueError("--fix mends what lies on this machine: leave --address out")
        if self.address is None and (self.dataset or self.storage):
            raise ValueError("--dataset and --storage are looked at from a cluster's nodes: add --address")


def main(argv: Sequence[str]) -> None:
    options = parse(Doctor, argv, "doctor")
    from orchestration.cluster.doctor import examine, examine_cluster, fix

    done = fix() if options.fix else []
    if options.address is None:
        findings = examine()
    else:
        findings = examine_cluster(options.address, options.dataset, options.storage)
    with Reporter(plain=True) as reporter:
        for line in done:
            reporter.say(line)
        rows = [("what", "state", "found", "mend it with")]
        rows += [(finding.what, finding.state, finding.found, finding.mend) for finding in findings]
        reporter.table("icface doctor", rows)
    missing = [finding for finding in findings if finding.state == "missing"]
    if missing and options.address is not None:
        raise IcfaceError(f"a run would be split or lost: {missing[0].found}")
    if missing:
        raise IcfaceError(f"missing: {', '.join(finding.what for finding in missing)}; the table says what mends it")
