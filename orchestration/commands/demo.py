"""`icface demo`."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The whole path on two sample clips, in about ten minutes on two cores."""

    output: str = "results/demo"
    """Folder for everything but MLflow's records; what is there already is used again."""
    steps: int | None = None
    """Train so many steps instead of the preset's."""


def main(argv: Sequence[str]) -> None:
    options = parse(Demo, argv, "demo")
    from orchestration.demo import DemoConfig, demo

    with Reporter(plain=True) as reporter:
        demo(DemoConfig(output=options.output, steps=options.steps), reporter)
