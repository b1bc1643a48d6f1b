"""The house rules of docstrings: everything public has one, its sentences are short, and it tells what is raised."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.prose import unclear

ROOT = Path(__file__).resolve().parents[1]
Documented = ast.FunctionDef | ast.ClassDef


@cache
def modules() -> dict[str, ast.Module]:
    """The modules of the three packages, parsed."""
    paths = (path for name in ("icface", "pipelines", "orchestration") for path in sorted((ROOT / name).rglob("*.py")))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def public(tree: ast.AST, path: str) -> Iterator[tuple[str, Documented]]:
    """Where each public class, function and method is, and itself. What a function has inside is not public."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{path}:{node.lineno} {node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, path)


def everything_public() -> Iterator[tuple[str, Documented]]:
    """`main` of a command is described by its module and its options, and said by its usage."""
    for path, tree in modules().items():
        yield from ((place, node) for place, node in public(tree, path) if node.name != "main")


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Docstrings of modules, classes, functions and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def raises(function: ast.FunctionDef) -> bool:
    """Whether the function itself, and not one inside it, raises IcfaceError."""
    inner = {
        id(node)
        for other in ast.walk(function)
        if isinstance(other, ast.FunctionDef) and other is not function
        for node in ast.walk(other)
    }
    return any(
        isinstance(node, ast.Raise) and node.exc is not None and "IcfaceError(" in ast.unparse(node.exc)
        for node in ast.walk(function)
        if id(node) not in inner
    )


def test_everything_public_has_a_docstring() -> None:
    missing = [place for place, node in everything_public() if not ast.get_docstring(node)]
    assert not missing, "\n".join(missing)


def test_what_is_raised_is_told() -> None:
    untold = [
        place
        for place, node in everything_public()
        if isinstance(node, ast.FunctionDef) and raises(node) and "IcfaceError" not in (ast.get_docstring(node) or "")
    ]
    assert not untold, "\n".join(untold)


def test_sentences_are_clear() -> None:
    long = []
    for path, tree in modules().items():
        for text in texts(tree):
            words = re.sub(r"^ *(>>>|\.\.\.) .*(\n +\S.*)*", "", str(text.value), flags=re.MULTILINE)
            long += [f"{path}:{text.lineno} {sentence}" for sentence in unclear(words)]
    assert not long, "\n".join(long)
