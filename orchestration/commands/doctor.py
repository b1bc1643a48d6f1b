"""`icface doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass

from icface.errors import IcfaceError
from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What is installed, reachable or missing on this machine, and the command that mends it."""


def main(argv: Sequence[str]) -> None:
    parse(Doctor, argv, "doctor")
    from orchestration.doctor import examine

    findings = examine()
    with Reporter(plain=True) as reporter:
        rows = [("what", "state", "found", "mend it with")]
        rows += [(finding.what, finding.state, finding.found, finding.mend) for finding in findings]
        reporter.table("icface doctor", rows)
    missing = [finding.what for finding in findings if finding.state == "missing"]
    if missing:
        raise IcfaceError(f"missing: {', '.join(missing)}; the table says what mends it")
