"""`icface inspect DATASET`."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show what a data set holds."""

    dataset: str
    """A data set. A path or fsspec URL."""
    report: str | None = None
    """Write one self-contained HTML page with plots and sample pictures to this file."""


def main(argv: Sequence[str]) -> None:
    options = parse(Inspect, argv, "inspect")
    from pipelines.curation.inspection import inspect
    from pipelines.curation.inspection_page import write_report

    with Reporter() as reporter:
        found = inspect(options.dataset)
        for name, rows in found.tables().items():
            reporter.table(name, rows)
        if options.report:
            write_report(found, options.report)
            reporter.result(report=options.report)
