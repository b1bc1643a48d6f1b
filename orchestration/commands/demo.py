"""`icface demo`."""

from collections.abc import Sequence

from orchestration.commands import parse
from orchestration.config import DemoConfig
from orchestration.terminal import Reporter


def main(argv: Sequence[str]) -> None:
    config = parse(DemoConfig, argv, "demo")
    from orchestration.demo import demo

    with Reporter(plain=True) as reporter:
        demo(config, reporter)
