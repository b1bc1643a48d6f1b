"""Who is let in, and what the browser is told."""

from collections.abc import Iterator

import pytest
from support.studio_page import Page, run_page

from icface.studio.guard import LOOPBACK
from icface.studio.resolvers import Resolvers

TOKEN = "a-long-enough-token"


@pytest.fixture(scope="module")
def guarded(resolvers: Resolvers) -> Iterator[Page]:
    yield from run_page(resolvers, token=TOKEN, hosts=LOOPBACK)


def test_nobody_without_the_token(guarded: Page) -> None:
    for path in ("/", "/api/state", "/static/main.js", "/?token=wrong", "/openapi.json"):
        assert guarded.ask("GET", path)[0] == 401
    assert guarded.ask("GET", "/api/state", headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
    status, headers, _ = guarded.ask("GET", f"/?token={TOKEN}")
    assert status == 303 and headers["location"] == "/"  # the token does not stay in the address
    cookie = headers["set-cookie"].split(";")[0]
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=strict" in headers["set-cookie"]
    assert guarded.ask("GET", "/", headers={"cookie": cookie})[0] == 200


def test_another_name_and_another_pages_requests_are_refused(guarded: Page) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/api/state", headers=known | {"host": "evil.example"})[0] == 421
    host = f"127.0.0.1:{guarded.port}"
    for origin, status in (("http://evil.example", 403), ("null", 403), (f"http://{host}", 400)):
        headers = known | {"origin": origin, "content-type": "application/json"}
        assert guarded.ask("POST", "/api/models", b'{"reference": "none"}', headers)[0] == status


def test_nothing_from_elsewhere_may_load(page: Page) -> None:
    _, headers, body = page.ask("GET", "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert b"http://" not in body and b"https://" not in body


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fbundle.py", "/static//etc/passwd", "/etc/passwd"],
)
def test_no_file_of_the_machine_is_readable(page: Page, path: str) -> None:
    status, _, body = page.ask("GET", path)
    assert status == 404 and b"import" not in body and b"root:" not in body
