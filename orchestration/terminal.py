"""Telling how far a job is: with rich on a terminal, as JSON lines elsewhere, or as plain lines."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, TextIO, get_args

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

JSON_SECONDS = 5.0
"""Least time between two JSON lines of progress."""
PLAIN_SECONDS = 30.0
PLAIN_SHARE = 0.1
"""A plain line of progress comes after this share of the work or this time, whichever is first."""

Style = Literal["rich", "json", "plain"]
STYLES: tuple[Style, ...] = get_args(Style)
_chosen: list[Style] = []
"""What `--output` says, if it was given."""


def choose(style: Style | None) -> None:
    """Let every `Reporter` that is made from now on use this style; None lets each choose by itself."""
    _chosen[:] = [style] if style is not None else []


class Reporter:
    """Shows a command's progress and results. Use it as a context manager: leaving it ends the progress bar.

    `plain` chooses sentences instead of JSON lines where there is no terminal; `choose` goes before either.
    """

    def __init__(self, stream: TextIO | None = None, plain: bool = False) -> None:
        self.stream = stream or sys.stdout
        by_itself: Style = "rich" if self.stream.isatty() else "plain" if plain else "json"
        self.style: Style = _chosen[0] if _chosen else by_itself
        terminal = self.style == "rich"
        self._console = Console(file=self.stream, highlight=False, soft_wrap=True, force_terminal=terminal)
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, tuple[float, int]] = {}
        """Of each job: when its last line of progress came, and how much was done then."""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def say(self, text: str, **facts: Any) -> None:
        """One sentence; `facts` stand beside it in a JSON line."""
        if self.style == "json":
            self._line({"event": "message", "text": text, **facts})
        else:
            self._console.print(text, markup=False)

    def heading(self, text: str) -> None:
        """The beginning of a part of the job."""
        self._end_bar()
        if self.style == "json":
            self._line({"event": "part", "text": text})
        else:
            self._console.print(Text(f"\n{text}", style="bold" if self.style == "rich" else ""))

    def progress(self, name: str, done: int, total: int, text: str = "", **facts: Any) -> None:
        """How far `name` is. Off a terminal: a line now and then, and one at the end."""
        if self.style == "rich":
            self._show(name, done, total, text)
            return
        now = time.monotonic()
        if done < total and name in self._told and not self._due(now, done, total, *self._told[name]):
            return
        self._told[name] = now, done
        if self.style == "json":
            self._line({"event": "progress", "name": name, "done": done, "total": total, **_rounded(facts)})
        else:
            print(f"  {name}: {done} of {total}{'  ' + text if text else ''}", file=self.stream, flush=True)

    def _due(self, now: float, done: int, total: int, told: float, told_done: int) -> bool:
        if self.style == "json":
            return now - told >= JSON_SECONDS
        return now - told >= PLAIN_SECONDS or done - told_done >= PLAIN_SHARE * total

    def table(self, name: str, rows: Iterable[Sequence[str]], *, grouped: bool = False) -> None:
        """A table; the first row is its heading. `grouped`: one table for each value of the first column."""
        heading, *body = [list(row) for row in rows]
        self._end_bar()
        if self.style == "json":
            self._line({"event": "table", "name": name, "rows": [dict(zip(heading, row, strict=True)) for row in body]})
            return
        if not grouped:
            self._table(name, heading, body, Table().box)
            return
        for group, members in groupby(body, key=itemgetter(0)):
            # Without lines between the columns, so that more of them fit.
            self._table(f"{name}: {group}", heading[1:], [row[1:] for row in members], SIMPLE_HEAD)

    def _table(self, name: str, heading: list[str], body: list[list[str]], box: Box | None) -> None:
        # As Text: rich takes brackets in a string for markup, and leaves them out.
        table = Table(title=Text(name), title_justify="left", box=None if self.style == "plain" else box)
        if grouped := box is SIMPLE_HEAD:
            table.padding, table.show_edge = (0, 1, 0, 0), False
        for index, column in enumerate(heading):
            numbers = all(_is_number(row[index]) for row in body)
            width = None
            if grouped and index:
                # Room is scarce: headings fold between words and the first column anywhere, but no number does.
                width = max(len(cell) for cell in (*column.split(), *(row[index] for row in body)))
            table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold", width=width)
        for row in body:
            table.add_row(*map(Text, row))
        width = 160 if self.style == "plain" else None
        terminal = self.style == "rich"
        Console(file=self.stream, highlight=False, width=width, force_terminal=terminal).print(table)

    def result(self, **facts: Any) -> None:
        """What the command made, by name."""
        self._end_bar()
        if self.style == "json":
            self._line({"event": "result", **facts})
            return
        width = max(map(len, facts))
        for name, value in facts.items():
            self._console.print(f"{name.replace('_', ' '):<{width}}  {value}", markup=False)

    def _show(self, name: str, done: int, total: int, text: str) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=20),
                TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True)),
                # Only this column gives way on a narrow terminal.
                TextColumn("{task.fields[text]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
                console=self._console,
                expand=True,
            )
            self._bar.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, text=text)
        self._bar.update(self._tasks[name], completed=done, total=total, text=text)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._tasks = None, {}

    def _line(self, values: dict[str, Any]) -> None:
        print(json.dumps(values, default=str), file=self.stream, flush=True)


def _rounded(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts for a line of JSON: whole seconds, four digits of other fractions.

    >>> _rounded({"seconds_left": 61.234, "images_per_second": 12.34567, "nodes": 2})
    {'seconds_left': 61, 'images_per_second': 12.35, 'nodes': 2}
    """
    return {
        name: value
        if not isinstance(value, float)
        else round(value)
        if "seconds_left" in name
        else float(f"{value:.4g}")
        for name, value in facts.items()
    }


def _is_number(cell: str) -> bool:
    """Whether a table's cell counts as one; so does an empty one.

    >>> [_is_number(cell) for cell in ("-0.125", "1,024", "70%", "–", "sharp")]
    [True, True, True, True, False]
    """
    return cell.strip("+-–%,. 0123456789") == ""


def duration(seconds: float | None) -> str:
    """Seconds in words.

    >>> duration(75), duration(None), duration(7300)
    ('1 min 15 s', '?', '2 h 1 min')
    >>> duration(637_000)
    '7 days 8 h'
    """
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
