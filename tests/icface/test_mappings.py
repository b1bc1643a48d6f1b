"""Mappings into dataclasses: what is taken, and how the first mistake is named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from icface.errors import IcfaceError
from icface.mappings import merge, read, read_yaml
from icface.options import Decides


@dataclass(frozen=True, kw_only=True)
class Inner:
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    size: Decides[int] = 8
    share: float = 0.5
    on: bool = False
    kind: Literal["a", "b"] = "a"
    place: str | None = None
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    free: Mapping[str, Any] = field(default_factory=dict)


def test_every_kind_of_field_is_read():
    values = {
        "name": "n",
        "size": 4,
        "share": 1,
        "on": True,
        "kind": "b",
        "place": None,
        "inner": {"count": 2},
        "many": [{"count": 3}, Inner(count=4)],
        "free": {"any": [1, "x"]},
    }
    found = read(Outer, values)
    assert found == Outer(
        name="n",
        size=4,
        share=1.0,
        on=True,
        kind="b",
        inner=Inner(count=2),
        many=(Inner(count=3), Inner(count=4)),
        free={"any": [1, "x"]},
    )
    assert isinstance(found.share, float)


def test_merging_keeps_what_is_not_named():
    config = Outer(name="n", size=4, inner=Inner(count=5))
    assert merge(config, {"share": 0.25, "inner": {}}) == Outer(name="n", size=4, share=0.25, inner=Inner(count=5))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "job.name is missing"),
        ({"name": "n", "sise": 1}, "unknown field job.sise; known here are name, size,"),
        ({"name": 1}, "job.name must be text, not 1"),
        ({"name": None}, "job.name must be text, not None"),
        ({"name": "n", "size": True}, "job.size must be a whole number, not True"),
        ({"name": "n", "size": 1.5}, "job.size must be a whole number, not 1.5"),
        ({"name": "n", "share": "0.5"}, "job.share must be a number, not '0.5'"),
        ({"name": "n", "on": 1}, "job.on must be true or false, not 1"),
        ({"name": "n", "kind": "c"}, "job.kind must be one of a, b, not 'c'"),
        ({"name": "n", "place": 3}, "job.place must be text, not 3"),
        ({"name": "n", "inner": 3}, "job.inner must hold fields, not 3"),
        ({"name": "n", "inner": {"counts": 3}}, "unknown field job.inner.counts; known here are count"),
        ({"name": "n", "inner": {"count": 0}}, "count must be at least 1, not 0"),
        ({"name": "n", "many": [{}, {"count": "x"}]}, r"job.many\[1\].count must be a whole number, not 'x'"),
        ({"name": "n", "many": 3}, "job.many must be a list, not 3"),
        ({"name": "n", "free": 3}, "job.free must be fields, not 3"),
        ("text", "job must hold fields, not 'text'"),
    ],
)
def test_the_first_mistake_is_named(values: object, said: str):
    with pytest.raises(ValueError, match=said):
        read(Outer, values, "job")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "cannot be read: "), ("- 1", "must hold fields, as in `a: 1`"), ("", "must hold fields")],
)
def test_a_file_without_fields_is_told(text: str, said: str, tmp_path: Path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(IcfaceError, match=f"x.yaml {said}"):
        read_yaml(str(tmp_path / "x.yaml"), "a: 1")
    with pytest.raises(IcfaceError, match="cannot be read"):
        read_yaml(str(tmp_path / "none.yaml"), "a: 1")
