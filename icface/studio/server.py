"""Running the page on this machine."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from icface.errors import IcfaceError
from icface.studio.app import create_app
from icface.studio.guard import LOOPBACK
from icface.studio.resolvers import Resolvers


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    resolvers: Resolvers,
    host: str,
    port: int,
    token: str | None,
    device: str,
    say: Callable[[str], None],
) -> None:
    """Show the page at `host` and `port` (0: any free one) until it is stopped.

    `say` gets the address, and a warning when others on the network reach it. Raises IcfaceError when the port is
    taken or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise IcfaceError(f"the page cannot listen at {host}:{port}: {error.strerror}; choose another --port") from None
    bound = listener.getsockname()[1]
    local = is_loopback(host)
    app = create_app(resolvers, token=token, hosts=LOOPBACK | {host} if local else None, device=device)
    if not local:
        say(
            f"warning: everybody who reaches {host} can use this page"
            + ("" if token else "; give --auth a token to keep others out")
            + "; what is sent is not encrypted"
        )
    shown = f"[{host}]" if ":" in host else host
    say(f"open http://{shown}:{bound}/{f'?token={token}' if token else ''}")
    say("Ctrl-C ends it")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2))
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
