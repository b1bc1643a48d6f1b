"""Self-contained HTML pages of tables and pictures."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icface.images import encode_jpeg
from pipelines.storage import Folder

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}"
    ".plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}figcaption{font-size:.8rem}img{max-width:100%}"
)


def table(rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; the first row is its heading.

    >>> table([("a",), ("<b>",)])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    heading, *body = rows
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{head}</tr>{lines}</table>"


def image(picture: npt.NDArray[np.uint8], words: str) -> str:
    """(H, W, 3) uint8 RGB as an HTML image that holds its own data; `words` say what it shows."""
    data = base64.b64encode(encode_jpeg(picture, 85)).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/jpeg;base64,{data}">'


def write_page(path: str | Path, title: str, sections: Iterable[str], style: str = "") -> None:
    """Write a page of HTML `sections` to a local file, whole or not at all; `style` is CSS of its own."""
    text = html.escape(title)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{text}</title>"
        f"<style>{_STYLE}{style}</style><h1>{text}</h1>{''.join(sections)}</html>\n"
    )
    target = Path(path).absolute()
    Folder.at(target.parent).write(target.name, page.encode())
