"""Options in dataclasses: which of them decide what is made, and the sentences that describe them."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

T = TypeVar("T")

_DECIDES = "decides the contents"
Decides = Annotated[T, _DECIDES]
"""Marks a field whose value changes what is made, as in `size: Decides[int] = 128`; runs that go on agree in it."""


def deciding(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass that are marked with `Decides`.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Options:
    ...     size: Decides[int] = 128
    ...     workers: int = 1
    >>> deciding(Options)
    ('size',)
    """
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        name
        for name, hint in hints.items()
        if get_origin(hint) is Annotated and any(item is _DECIDES for item in hint.__metadata__)
    )


def decided(config: Any) -> dict[str, Any]:
    """The values of the fields marked with `Decides`, of a dataclass and of the dataclasses in it, on one level.

    >>> from icface.analyzers.registry import PyFeatOptions
    >>> decided(PyFeatOptions(weights="/w"))
    {'detector': 'auto'}
    """
    found = {name: getattr(config, name) for name in deciding(type(config))}
    for item in fields(config):
        if is_dataclass(getattr(config, item.name)):
            found |= decided(getattr(config, item.name))
    return found


def descriptions(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, on one line; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made at run time: its bases say all there is
            continue
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
        for field, words in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr) and _text(words):
                found[ast.unparse(field.target)] = " ".join(_text(words).split())
    return found


def _text(statement: ast.Expr) -> str:
    value: Any = getattr(statement.value, "value", "")
    return value if isinstance(value, str) else ""
