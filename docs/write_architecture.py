"""Writes the generated parts of docs/architecture.md: which folder imports which, and what each module is for.

`make architecture` runs it, and a test holds the page against the tree.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("icface", "pipelines", "orchestration")


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name; a folder's `__init__` has the folder's name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Iterable[str]) -> set[str]:
    """The modules among `known` that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{item.name}" for item in node.names} | {node.module}
    return found & set(known)


def folder_of(module: str, path: Path) -> str | None:
    """The folder in a package that a module lies in, as `icface.video`; None for a module of the package itself."""
    parts = path.relative_to(ROOT).parts
    return ".".join(parts[:2]) if len(parts) > 2 else None


def arrows() -> set[tuple[str, str]]:
    """Which folder imports from which, without the arrows that follow from others."""
    known = modules()
    direct: dict[str, set[str]] = {}
    for module, path in known.items():
        if (start := folder_of(module, path)) is None:
            continue
        ends = {folder_of(end, known[end]) for end in imports(path, known)}
        direct.setdefault(start, set()).update(end for end in ends if end and end != start)
    reached = {start: _reached(start, direct) for start in direct}
    return {
        (start, end)
        for start, ends in direct.items()
        for end in ends
        if not any(end in reached.get(other, ()) for other in ends - {end})
    }


def _reached(start: str, direct: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(direct.get(start, ()))
    while todo:
        if (folder := todo.pop()) not in found:
            found.add(folder)
            todo += direct.get(folder, ())
    return found


def diagram() -> str:
    """The folders and the arrows between them as a Mermaid chart."""
    folders = sorted({folder for module, path in modules().items() if (folder := folder_of(module, path))})
    lines = ["```mermaid", "flowchart TD"]
    for package in reversed(PACKAGES):
        lines.append(f"  subgraph {package}")
        lines += [
            f"    {_id(folder)}[{folder.split('.')[1]}]" for folder in folders if folder.startswith(f"{package}.")
        ]
        lines.append("  end")
    lines += [f"  {_id(start)} --> {_id(end)}" for start, end in sorted(arrows())]
    return "\n".join([*lines, "```"])


def _id(folder: str) -> str:
    return folder.replace(".", "_")


def table() -> str:
    """A row for each folder with the first sentence of its docstring."""
    known = modules()
    rows = ["| folder | what is in it |", "|---|---|"]
    for folder in sorted({folder_of(module, path) for module, path in known.items()} - {None}, key=str):
        text = ast.get_docstring(ast.parse(known[str(folder)].read_text())) or ""
        rows.append(f"| `{str(folder).replace('.', '/')}/` | {' '.join(text.split()).split('. ')[0].rstrip('.')} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """`text`, the page, with its generated part made again."""
    made = f"<!-- written by make architecture -->\n\n{diagram()}\n\n{table()}\n\n<!-- end -->"
    return re.sub(r"<!-- written by make architecture -->.*?<!-- end -->", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
