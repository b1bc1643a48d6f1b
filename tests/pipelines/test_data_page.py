"""What docs/data.md tells people to run gives what it says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/data.md"


def test_the_snippets_run_one_after_another(small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) == 5
    names: dict = {"DATASET": str(small_dataset)}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    total = sum(names["dataset"].meta["counts"]["frames"].values())
    assert len(names["frames"]) == total
    assert set(names["frames"]["split"]) == {"train"}
    assert [row[0] for row in names["rows"]] == ["single", "wolfgang"]
    assert sum(row[1] for row in names["rows"]) == total
    assert names["table"].num_columns == 3
    assert names["picture"].size == (32, 32)
    assert 0 <= names["smile"] <= 5
    assert names["tensor"].shape == (3, 32, 32)
    assert -1 <= names["tensor"].min() < names["tensor"].max() <= 1
