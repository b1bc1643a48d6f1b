"""The documents name files that exist and say what the code says."""

import re
import runpy
from pathlib import Path

import pytest

from icface.attributes import ACTION_UNIT_NAMES, AttributeSchema
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
    for verb, entry in shown:
        assert parse_edits([entry], AttributeSchema.default(), verb)


def test_the_picture_of_the_pose_is_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs" / "draw_pose.py"), run_name="__main__")
    assert (tmp_path / "docs" / "pose.svg").read_text() == (ROOT / "docs" / "pose.svg").read_text()
