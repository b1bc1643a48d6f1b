"""One module a command: its options, and what it calls. Importing one loads neither torch nor Ray."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, make_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

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
    The help calls a required option by its name, as in `DATASET`.
    """
    config = (tyro.conf.FlagCreatePairsOff, *((tyro.conf.PositionalRequiredArgs,) if positional else ()))
    extra = {} if default is None else {"default": default}
    try:
        parsed = tyro.cli(_with_names(kind), args=list(argv), prog=f"icface {command}", config=config, **extra)
        return convert(kind(**{item.name: getattr(parsed, item.name) for item in fields(kind)}))  # type: ignore[arg-type]
    except ValueError as error:
        print(f"icface {command}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _with_names(kind: type[Options]) -> Any:
    """`kind`, a dataclass, whose help names required options instead of showing their types."""
    hints, plain = get_type_hints(kind, include_extras=True), get_type_hints(kind)
    named = [
        (item.name, Annotated[hints[item.name], tyro.conf.arg(metavar=_name_of(item.name))])
        for item in fields(kind)  # type: ignore[arg-type]
        if item.default is MISSING and item.default_factory is MISSING and get_origin(plain[item.name]) is not Literal
    ]
    shown = make_dataclass(kind.__name__, named, bases=(kind,), frozen=True, kw_only=True)
    shown.__doc__ = kind.__doc__
    return shown


def _name_of(field: str) -> str:
    """What the help calls a field.

    >>> _name_of("source_image"), _name_of("models")
    ('SOURCE_IMAGE', 'MODEL')
    """
    return "MODEL" if field == "models" else field.upper()
