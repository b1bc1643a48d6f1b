"""What docs/data.md tells people to run gives what it says."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/data.md"


def test_the_snippets_run_one_after_another(small_dataset: Path):
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) == 4
    names: dict = {"DATASET": str(small_dataset)}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    total = sum(names["dataset"].meta["counts"]["frames"].values())
    assert len(names["frames"]) == total
    assert set(names["frames"]["split"]) == {"train"}
    assert [row[0] for row in names["rows"]] == ["single", "wolfgang"]
    assert sum(row[1] for row in names["rows"]) == total
    assert names["table"].num_columns == 3
    assert names["tensor"].shape == (3, 32, 32)
    assert -1 <= names["tensor"].min() < names["tensor"].max() <= 1
