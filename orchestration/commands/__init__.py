"""One module a command: its options, and what it calls. Importing one loads neither torch nor Ray."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

Options = TypeVar("Options")


def parse(
    kind: type[Options],
    argv: Sequence[str],
    command: str,
    default: Any = None,
    positional: bool = True,
    convert: Callable[[Options], Options] = lambda options: options,
) -> Options:
    """Options of a command from its arguments; what a config refuses is wrong usage (exit status 2).

    With `positional` every field without a default is one. `convert` makes what is returned of what was parsed.
    """
    config = (tyro.conf.FlagCreatePairsOff, *((tyro.conf.PositionalRequiredArgs,) if positional else ()))
    extra = {} if default is None else {"default": default}
    try:
        return convert(tyro.cli(kind, args=list(argv), prog=f"icface {command}", config=config, **extra))
    except ValueError as error:
        print(f"icface {command}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
