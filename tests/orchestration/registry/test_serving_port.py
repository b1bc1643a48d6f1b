import socket

import pytest

from icface.errors import IcfaceError
from orchestration.registry.serving import serve


def test_a_taken_port_is_one_line_before_anything_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(IcfaceError, match=rf"^127.0.0.1:{port} cannot be served at: Address already in use"):
            serve("no/such/model", "127.0.0.1", port, 1)


def test_a_host_that_is_not_ours_is_said() -> None:
    with pytest.raises(IcfaceError, match=r"^192.0.2.1:5000 cannot be served at"):
        serve("no/such/model", "192.0.2.1", 5000, 1)
