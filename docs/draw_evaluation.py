"""Draws docs/evaluation.svg: what an evaluation compares with what."""

from pathlib import Path

BOXES = (
    (10, 40, "source", "#eef2ff"),
    (10, 170, "driving frame", "#eef2ff"),
    (310, 40, "model's picture", "#dbeafe"),
    (590, 20, "copy source", "#f3f4f6"),
    (590, 75, "nearest", "#f3f4f6"),
    (590, 130, "mean values", "#f3f4f6"),
    (590, 185, "noise floor", "#f3f4f6"),
)
ARROWS = ((140, 62, 308, 62), (75, 170, 330, 86), (400, 136, 400, 86))
TEXTS = (
    (150, 55, "neutralised, then moved"),
    (210, 150, "17 units, pose"),
    (345, 150, "compared: pixels,"),
    (345, 168, "landmarks, identity,"),
    (345, 186, "attributes measured again"),
    (590, 12, "the same scores of"),
)


def drawing() -> str:
    """The SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 240" font-family="system-ui,sans-serif" '
        'font-size="14" fill="#202124"><rect width="740" height="240" fill="#fff"/>'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>'
    ]
    for x, y, text, colour in BOXES:
        parts.append(f'<rect x="{x}" y="{y}" width="130" height="44" rx="6" fill="{colour}" stroke="#6b7280"/>')
        parts.append(f'<text x="{x + 65}" y="{y + 27}" text-anchor="middle">{text}</text>')
    for x, y, to_x, to_y in ARROWS:
        line = f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#202124" marker-end="url(#a)"/>'
        parts.append(line)
    parts += [f'<text x="{x}" y="{y}" font-size="12" fill="#4b5563">{text}</text>' for x, y, text in TEXTS]
    return "".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    (Path(__file__).parent / "evaluation.svg").write_text(drawing())
