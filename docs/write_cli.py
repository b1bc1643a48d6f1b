"""Writes docs/cli.md from the command line's own --help: `python docs/write_cli.py` from the repository's root."""

import contextlib
import io
import os
from importlib import import_module
from pathlib import Path

INTRODUCTION = """# The command line

This page is written by `python docs/write_cli.py` from the programs' own `--help`. A test keeps it current. Options of
`icface train` are shown with the defaults of preset `icface`.
"""


def help_of(*words: str) -> str:
    """What `icface WORDS --help` prints, 100 columns wide and without colours."""
    from orchestration.__main__ import main

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def page() -> str:
    from orchestration.__main__ import COMMANDS

    parts = [INTRODUCTION, f"```text\n{help_of()}\n```\n"]
    for name in COMMANDS:
        verbs = getattr(import_module(f"orchestration.commands.{name}"), "VERBS", {})
        for words in [(name,), *((name, verb) for verb in verbs)]:
            level = "##" if len(words) == 1 else "###"
            parts.append(f"{level} icface {' '.join(words)}\n\n```text\n{help_of(*words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    # Before tyro and rich look at the terminal.
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    Path("docs/cli.md").write_text(page())
