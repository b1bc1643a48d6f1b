"""The process group of the ranks, on the network interface that Ray's nodes know each other by.

Gloo listens where the host's own name leads to. On Debian that is 127.0.1.1: ranks on two hosts would never meet.
"""

import fcntl
import os
import socket
import struct
from typing import Any

import ray
from ray.train.torch import TorchConfig

_SIOCGIFADDR = 0x8915
_TorchBackend: Any = TorchConfig().backend_cls


class ProcessGroup(TorchConfig):
    """Ray Train's set-up of torch.distributed, after each rank has chosen its interface."""

    @property
    def backend_cls(self) -> Any:
        """The class that Ray Train starts the group with."""
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


def choose_interface() -> None:
    """Tell Gloo the interface of this node's address, unless GLOO_SOCKET_IFNAME is set."""
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface_of(address: str) -> str | None:
    """The network interface with this IPv4 address, or None.

    >>> interface_of("127.0.0.1")
    'lo'
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
