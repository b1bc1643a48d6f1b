"""Sentences of Markdown and of docstrings, whose length the tests hold."""

import re

LONGEST = 30
"""Words of a sentence, from full stop to full stop. Readers are engineers from everywhere."""

GUESSED = re.compile(r"\b(anew|to the bit|made up|nobody looked)\b")
"""Say: again, bit-identical, synthetic or random, not checked."""


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown text: paragraphs and list items, without code, tables, pictures and addresses."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", ":::", "<"))]
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    return [
        sentence for block in blocks for sentence in re.split(r"(?<=[.!?])\s+", " ".join(block.split())) if sentence
    ]


def unclear(text: str) -> list[str]:
    """The sentences of a text that have more than `LONGEST` words, or words that readers had to guess."""
    return [
        sentence for sentence in sentences(text) if len(sentence.split()) > LONGEST or GUESSED.search(sentence.lower())
    ]
