"""Dropping late requests: of those that wait for one view, the last one is served."""

import threading
from collections import OrderedDict

VIEWS = 1024
"""Views that are remembered; the one that asked longest ago is forgotten first."""


class Overtaken(Exception):
    """A newer request for the same view has come in."""


class Latest:
    """The highest sequence number that each view has asked for.

    >>> latest = Latest()
    >>> latest.announce("tab", 1)
    >>> latest.announce("tab", 2)
    >>> latest.is_late("tab", 1), latest.is_late("tab", 2)
    (True, False)
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def announce(self, view: str, sequence: int) -> None:
        """A request has come in."""
        with self._lock:
            self._newest[view] = max(sequence, self._newest.pop(view, sequence))
            while len(self._newest) > VIEWS:
                self._newest.popitem(last=False)

    def is_late(self, view: str, sequence: int) -> bool:
        """Whether a newer one has come in since."""
        with self._lock:
            return sequence < self._newest.get(view, sequence)
