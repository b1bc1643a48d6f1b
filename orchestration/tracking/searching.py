"""Searches in MLflow, to their end: an answer holds one page."""

from collections.abc import Callable, Iterator
from typing import Any


def found_by(search: Callable[..., Any], *wanted: Any, **options: Any) -> Iterator[Any]:
    """Everything that `search`, a method of MlflowClient, finds; each page is asked for when it is needed.

    Raises MlflowException as the method does.
    """
    token = None
    while True:
        page = search(*wanted, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
