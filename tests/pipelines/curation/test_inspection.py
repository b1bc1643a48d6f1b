"""What `icface inspect` says of a data set."""

import re
from pathlib import Path

from pipelines.curation.inspection import inspect, write_report
from pipelines.dataset import Dataset


def test_counts_agree_with_the_data_set(small_dataset: Path):
    found = inspect(str(small_dataset))
    tables = found.tables()
    splits = {row[0]: row for row in tables["Splits"][1:]}
    dataset = Dataset.open(str(small_dataset))
    trained = sum(group.rows for group in dataset.row_groups("train"))
    held = sum(group.rows for group in dataset.row_groups("train", held_out=True))
    assert splits["train"][1:] == ("2", "2", "2", str(trained), str(held))
    assert len(found.labels) == trained + held
    attributes = next(rows for title, rows in tables.items() if title.startswith("Attributes"))
    by_name = {row[0]: row for row in attributes[1:]}
    assert by_name["AU14"][2] == "0%"
    assert by_name["AU25"][2] == "100%"


def test_report_is_one_whole_page(small_dataset: Path, tmp_path: Path):
    write_report(inspect(str(small_dataset)), str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 15 + 1  # 20 attributes less the five that MediaPipe has not; frames by split
    assert re.search(r"train</text>.*?\d+ frames, \d+ of them held out", page)
    assert "icface 0.1.0, format 1" in page
    assert "data:image/jpeg;base64," in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
