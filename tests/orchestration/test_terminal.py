"""What a job says off a terminal, and on one."""

import io
import json
import re

import pytest

from orchestration.terminal import Reporter, Style, choose


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes: lines that come because of it do not."""
    monkeypatch.setattr("orchestration.terminal.time.monotonic", lambda: 0.0)


def test_json_lines_and_few_of_them(still: None):
    stream = io.StringIO()
    with Reporter(stream) as reporter:
        for done in range(1, 101):
            reporter.progress("frames", done, 100, speed=3)
        reporter.result(output="x.mp4")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("done") for line in lines] == [1, 100, None]
    assert lines[0]["speed"] == 3
    assert lines[-1] == {"event": "result", "output": "x.mp4"}


def test_plain_lines_come_every_tenth_of_the_work(still: None):
    stream = io.StringIO()
    with Reporter(stream, plain=True) as reporter:
        for done in range(0, 2001, 20):
            reporter.progress("training", done, 2000)
    assert [int(line.split()[1]) for line in stream.getvalue().splitlines()] == list(range(0, 2001, 200))


def test_plain_lines_come_every_30_seconds_of_slow_work(monkeypatch):
    from orchestration import terminal

    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    with Reporter(stream, plain=True) as reporter:
        for done in range(7):
            reporter.progress("training", done, 2000)
    assert [int(line.split()[1]) for line in stream.getvalue().splitlines()] == [0, 3, 6]


def test_a_terminal_gets_words():
    stream = Terminal()
    with Reporter(stream) as reporter:
        reporter.heading("Part")
        reporter.progress("frames", 1, 2, "half of it")
        reporter.table("Scores", [("metric", "model"), ("l1", "0.1")])
        reporter.say("[brackets] stay")
    text = stream.getvalue()
    assert "half of it" in text
    assert "0.1" in text
    assert "[brackets] stay" in text
    assert "{" not in text


def test_a_tables_words_are_whole_and_its_numbers_stand_right():
    stream = Terminal()
    command = "sudo apt-get install " + " ".join(f"library{number}" for number in range(30))
    with Reporter(stream) as reporter:
        reporter.table("Scores", [("what", "mend", "count"), ("one", command, "7"), ("other", "", "1,234")])
    lines = stream.getvalue().splitlines()
    for word in command.split():
        assert word in " ".join(lines)
    assert any(line.rstrip(" │").endswith("    7") for line in lines)


def test_brackets_in_a_table_stay():
    stream = Terminal()
    with Reporter(stream) as reporter:
        reporter.heading("part [1]")
        reporter.table("Title [a]", [("what [b]", "mend"), ("x", "pip install 'name[extra]'")])
    for text in ("part [1]", "Title [a]", "what [b]", "pip install 'name[extra]'"):
        assert text in stream.getvalue()


@pytest.mark.parametrize("style", ["plain", "json", "rich"])
def test_the_style_can_be_chosen_on_a_terminal_and_off_it(style: Style):
    for stream in (Terminal(), io.StringIO()):
        choose(style)
        try:
            with Reporter(stream) as reporter:
                assert reporter.style == style
                reporter.table("Scores", [("metric", "model"), ("l1", "0.1")])
                reporter.result(made="x")
        finally:
            choose(None)
        text = stream.getvalue()
        assert ("event" in text) == (style == "json")
        assert ("\x1b[" in text) == (style == "rich")
    assert Reporter(io.StringIO()).style == "json"


def test_seconds_in_json_lines_are_whole():
    stream = io.StringIO()
    with Reporter(stream) as reporter:
        reporter.progress("training", 1, 9, seconds_left=12.3456789, images_per_second=3.14159265, loss=None)
    line = json.loads(stream.getvalue())
    assert (line["seconds_left"], line["images_per_second"], line["loss"]) == (12, 3.142, None)


def test_a_grouped_table_is_one_table_a_group_and_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = io.StringIO()
    metric = "same_analyzer/within.AU12"
    rows = [
        ("pairs", "metric", "best", "model", "95 %", "copy source", "nearest", "mean values", "noise floor"),
        *((group, metric, "↑", "0.814", "0.677 … 0.924", "0.000", "0.311", "0.000", "0.976") for group in ("a", "b")),
    ]
    choose("rich")
    try:
        with Reporter(out) as reporter:
            reporter.table("Evaluation", rows, grouped=True)
    finally:
        choose(None)
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in out.getvalue().splitlines()]
    assert [line.strip() for line in lines if line.startswith("Evaluation")] == ["Evaluation: a", "Evaluation: b"]
    for line in (line for line in lines if "0.814" in line):
        assert all(cell in line for cell in rows[1][3:]), "the numbers of a metric are on one line"
    assert max(map(len, lines)) <= 80
