"""What the page remembers for its visitors: a bounded number of things by unguessable names."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from icface.errors import IcfaceError

T = TypeVar("T")


class Kept(Generic[T]):
    """At most `most` things; the one that was used longest ago makes room, after `on_drop` was told.

    >>> kept = Kept[int]("portrait", most=1)
    >>> first, second = kept.add(1), kept.add(2)
    >>> kept.get(second)
    2
    """

    def __init__(self, what: str, most: int, on_drop: Callable[[T], None] = lambda item: None) -> None:
        self._what = what
        self._most = most
        self._on_drop = on_drop
        self._items: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, item: T) -> str:
        """Keep it; the name under which `get` finds it."""
        name = secrets.token_urlsafe(12)
        dropped = []
        with self._lock:
            self._items[name] = item
            while len(self._items) > self._most:
                dropped.append(self._items.popitem(last=False)[1])
        for old in dropped:
            self._on_drop(old)
        return name

    def get(self, name: str) -> T:
        """Raises IcfaceError when it is not there, or not any more."""
        with self._lock:
            if name not in self._items:
                raise IcfaceError(f"this {self._what} is not there any more; choose it again")
            self._items.move_to_end(name)
            return self._items[name]

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            items = list(self._items.values())
            self._items.clear()
        for item in items:
            self._on_drop(item)
