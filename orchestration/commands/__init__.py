"""One module a command: its options, and what it calls. Importing one loads neither torch nor Ray."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, make_dataclass
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


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A command of a command, as `relabel` of `icface dataset`."""

    options: type
    """Its options; the first line of the class's docstring is its line of help."""
    run: Callable[[Any], None]
    """What is called with them."""
    positional: bool = True
    """Whether required options are positional."""


def dispatch(command: str, verbs: Mapping[str, Verb], argv: Sequence[str], usage: str) -> None:
    """Run the verb that `argv` begins with; list all on `--help`; exit with status 2 without one."""
    if argv and argv[0] in ("-h", "--help"):
        print(f"usage: icface {command} COMMAND {usage}\n")
        for name, verb in verbs.items():
            print(f"  {name:<15} {(verb.options.__doc__ or '').splitlines()[0]}")
        return
    if not argv or argv[0] not in verbs:
        print(f"icface {command}: name one of {', '.join(verbs)}", file=sys.stderr)
        raise SystemExit(2)
    verb = verbs[argv[0]]
    verb.run(parse(verb.options, argv[1:], f"{command} {argv[0]}", positional=verb.positional))


def _with_names(kind: type[Options]) -> Any:
    """`kind`, a dataclass, whose help names required options instead of their types, and no default that is empty."""
    hints, plain = get_type_hints(kind, include_extras=True), get_type_hints(kind)
    named: list[Any] = [
        (item.name, Annotated[hints[item.name], tyro.conf.arg(metavar=_name_of(item.name))])
        for item in fields(kind)  # type: ignore[arg-type]
        if item.default is MISSING and item.default_factory is MISSING and get_origin(plain[item.name]) is not Literal
    ]
    named += [
        (item.name, Annotated[hints[item.name], tyro.conf.arg(help_behavior_hint="")], ())
        for item in fields(kind)  # type: ignore[arg-type]
        if item.default == () and not any(type(mark).__module__.startswith("tyro") for mark in _marks(hints[item.name]))
    ]
    shown = make_dataclass(kind.__name__, named, bases=(kind,), frozen=True, kw_only=True)
    shown.__doc__ = kind.__doc__
    return shown


def _marks(hint: Any) -> tuple[Any, ...]:
    """What a hint is annotated with."""
    return tuple(getattr(hint, "__metadata__", ()))


def _name_of(field: str) -> str:
    """What the help calls a field.

    >>> _name_of("source_image"), _name_of("models")
    ('SOURCE_IMAGE', 'MODEL')
    """
    return "MODEL" if field == "models" else field.upper()
