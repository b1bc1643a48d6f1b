"""What `icface inspect` says of a data set."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipelines.curation.inspection import inspect
from pipelines.curation.inspection_page import write_report
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


def test_every_frame_that_was_read_is_accounted_for(small_dataset: Path):
    found = inspect(str(small_dataset))
    _, read, *rest = found.tables()["Frames: what became of them"]
    clips = found.clips
    assert int(read[1]) == clips["frames_read"].sum()
    assert sum(int(row[1]) for row in rest) == int(read[1])
    said = {row[0]: int(row[1]) for row in rest}
    assert said["kept"] == clips["frames_kept"].sum()
    assert said["dropped: the second before the held-out frames"] == clips["dropped_gap"].sum() > 0


def test_people_add_up(small_dataset: Path):
    found = inspect(str(small_dataset))
    index = found.dataset.index
    people = found.people.set_index("identity")
    assert people["frames_kept"].to_dict() == index.groupby("identity")["rows"].sum().to_dict()
    assert people["held_out"].sum() == index.loc[index["held_out"], "rows"].sum()
    assert people["clips"].sum() == len(found.clips)


class Page(HTMLParser):
    """Identifiers, links and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.circles = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]).removeprefix("#"))
        self.circles += tag == "circle"


def test_report_is_one_whole_page(small_dataset: Path, tmp_path: Path):
    write_report(inspect(str(small_dataset)), str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    # 20 attributes less the five that MediaPipe has not.
    assert text.count('aria-label="histogram of') == 15
    assert re.search(r"train</text>.*?\d+ frames, \d+ of them held out", text)
    assert "icface 0.1.0, format 1" in text
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.links) <= set(page.ids)
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    faces = text.count("<figure class=face>")
    assert text.count("data:image/jpeg;base64,") == faces > 15
    assert page.circles == 68 * faces
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_faces_with_the_largest_values_are_shown(small_dataset: Path, tmp_path: Path):
    write_report(inspect(str(small_dataset)), str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    files = list((small_dataset / "frames").rglob("*.parquet"))
    frames = [row for file in files for row in pq.read_table(file, columns=["clip", "frame", "AU12"]).to_pylist()]
    top = max(frames, key=lambda row: row["AU12"])
    shown = text[text.index("largest AU12") :]
    assert f"<b>AU12 {top['AU12']:.2f}</b>" in shown
    assert f"{top['clip']}<br>frame {top['frame']}," in shown


def test_landmarks_lie_in_the_box_of_the_card(small_dataset: Path, tmp_path: Path):
    write_report(inspect(str(small_dataset)), str(tmp_path / "report.html"))
    card = (tmp_path / "report.html").read_text().split("<figure class=face>")[1]
    points = np.array(re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', card), float)
    x, y, width, height = map(
        float, re.search(r'<rect x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)"', card).groups()
    )
    # The box is that of the landmarks, which are stored in half precision.
    np.testing.assert_allclose(points.min(0), [x, y], atol=2e-3)
    np.testing.assert_allclose(points.max(0), [x + width, y + height], atol=2e-3)
