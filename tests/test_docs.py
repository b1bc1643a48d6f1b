"""The documents name files that exist and say what the code says."""

import re
import runpy
from pathlib import Path

import pytest
from support.prose import unclear

from icface.attributes import ACTION_UNIT_NAMES, AttributeSchema, Seen
from icface.control import ACTION_UNIT_WORDS, EYES, parse_edits

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    paths = re.findall(r"`((?:icface|pipelines|orchestration|docs|tests|benchmarks)/[\w./]*)`", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    missing += [link for link in links if not (document.parent / link).exists()]
    assert not missing


def test_the_table_of_action_units_is_the_codes() -> None:
    text = (ROOT / "docs" / "attributes.md").read_text()
    rows = re.findall(r"^\| (AU\d\d) \| ([^|]+) \| (eyes|mouth) \|", text, re.MULTILINE)
    assert tuple(name for name, _, _ in rows) == ACTION_UNIT_NAMES
    for name, words, group in rows:
        assert words.startswith(ACTION_UNIT_WORDS[name])
        assert (group == "eyes") == (name in EYES)


def test_the_edits_shown_can_be_made() -> None:
    text = (ROOT / "docs" / "attributes.md").read_text()
    shown = re.findall(r"^\| `--(set|add|scale) (\S+)`", text, re.MULTILINE)
    assert {verb for verb, _ in shown} == {"set", "add", "scale"}
    default = AttributeSchema.default()
    seen = {a.name: Seen(min=a.low, p01=a.low, p50=a.neutral, p99=a.high, max=a.high) for a in default.attributes}
    for verb, entry in shown:
        assert parse_edits([entry], default.with_seen(seen), verb)


def test_the_picture_of_the_pose_is_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs" / "draw_pose.py"), run_name="__main__")
    assert (tmp_path / "docs" / "pose.svg").read_text() == (ROOT / "docs" / "pose.svg").read_text()


@pytest.mark.parametrize("document", sorted({*DOCUMENTS, *ROOT.glob("*.md")}), ids=lambda path: path.name)
def test_sentences_are_clear(document: Path) -> None:
    long = unclear(document.read_text())
    assert not long, "\n".join(long)


def test_the_diagram_of_the_architecture_is_the_codes() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_architecture.py"))
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert written["page"](text) == text, "run: make architecture"
    chart = set(re.findall(r"^  (\w+) --> (\w+)$", text, re.MULTILINE))
    order = ("icface", "pipelines", "orchestration")
    assert all(order.index(start.split("_")[0]) >= order.index(end.split("_")[0]) for start, end in chart)
    assert ("pipelines_sources", "icface_video") in chart


def test_the_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    known = runpy.run_path(str(ROOT / "docs" / "write_architecture.py"))["modules"]()
    named = set(re.findall(r"\b(?:icface|pipelines|orchestration)(?:\.\w+)+\b", text)) - {"icface.layouts"}
    assert len(named) > 25
    assert sorted(named - known.keys()) == []


def test_the_page_of_the_command_line_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    page = runpy.run_path(str(ROOT / "docs" / "write_cli.py"))["page"]()
    assert page == (ROOT / "docs" / "cli.md").read_text(), "run: make cli"
