"""The password of a tracking server: out of its address, so that no message, tag or file can show it."""

import os
from collections.abc import MutableMapping
from urllib.parse import quote, unquote, urlsplit, urlunsplit

USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
URI = "MLFLOW_TRACKING_URI"


def take(uri: str, environment: MutableMapping[str, str] = os.environ) -> str:
    """The address without the name and password in it, which go to the variables that MLflow reads them from.

    >>> known = {}
    >>> take("http://alice:secret@host:5000/x", known), known["MLFLOW_TRACKING_PASSWORD"]
    ('http://host:5000/x', 'secret')
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    environment[USERNAME], environment[PASSWORD] = unquote(name), unquote(password)
    return urlunsplit(parts._replace(netloc=host))


def complete(uri: str, environment: MutableMapping[str, str] = os.environ) -> str:
    """The address with name and password, for a process on another node; `take` there takes it apart again."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not environment.get(USERNAME):
        return uri
    user = ":".join(quote(environment.get(name, ""), safe="") for name in (USERNAME, PASSWORD))
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def hide() -> None:
    """Take the password out of this process's MLFLOW_TRACKING_URI, before anybody reads it."""
    if uri := os.environ.get(URI):
        os.environ[URI] = take(uri)
