"""A page with a small model that has learned nothing, served on a free port, and a visitor without a browser."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import uvicorn

from icface.arrays import Picture
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.bundle import BundleConfig, ICface
from icface.crop import CropRule
from icface.errors import IcfaceError
from icface.networks.config import ModelConfig
from icface.studio.app import create_app
from icface.studio.resolvers import ClipSummary, Resolvers

UNTRAINED = "AU14"


def tiny_model(seed: int) -> ICface:
    shares = {name: 0.0 if name == UNTRAINED else 1.0 for name in ATTRIBUTE_NAMES}
    torch.manual_seed(seed)
    made = ICface(
        BundleConfig(
            model=ModelConfig(size=32, width=8, blocks=1, discriminator_width=8),
            schema=AttributeSchema.default().with_measured_shares(shares),
            crop_rule=CropRule().to_json(),
            analyzer={"name": "mediapipe"},
        )
    )
    # A generator begins as the identity; weights that are all drawn make attributes show.
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1)
    return made


class Library:
    """Two clips of noise with known curves."""

    name = "noise"
    analyzer = "dlib"
    seen: Mapping[str, Seen] = {"AU12": Seen(min=0, p01=0, p50=0.5, p99=1.5, max=2)}

    def clips(self) -> list[ClipSummary]:
        return [
            ClipSummary(clip=f"id/v/{n}", split="train", frames=10, largest={"AU12": n}, smallest={"AU12": 0.0})
            for n in (1, 2)
        ]

    def table(self, clip: str) -> pd.DataFrame:
        if clip not in ("id/v/1", "id/v/2"):
            raise IcfaceError(f"there is no clip {clip!r}")
        table = pd.DataFrame({name: np.full(10, np.nan, np.float32) for name in ATTRIBUTE_NAMES})
        table["AU12"] = np.linspace(0, float(clip[-1]), 10).astype(np.float32)
        table.insert(0, "frame", np.arange(10) * 2)
        table.insert(1, "timestamp", 63 + np.arange(10) * 0.08)  # a piece of a longer film
        return table

    def picture(self, clip: str, frame: int) -> Picture:
        return np.random.default_rng(frame).integers(0, 255, (64, 64, 3)).astype(np.uint8)


class Page:
    """A running page, and a visitor without a browser."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a JSON question, which must go well."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.ask("POST", path, data, {"content-type": "application/json"})
        assert status == 200, answer
        return json.loads(answer)

    def refused(self, method: str, path: str, body: Any = None) -> str:
        """What the page says to a question that it refuses; it must go on working."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        status, _, answer = self.ask(method, path, data, {"content-type": "application/json"})
        assert 400 <= status < 500, (status, answer)
        assert self.ask("GET", "/api/state")[0] == 200
        said = str(json.loads(answer)["error"])
        assert said and "\n" not in said
        return said

    def get(self, path: str) -> Any:
        status, _, answer = self.ask("GET", path)
        assert status == 200, answer
        return json.loads(answer)

    def finished(self, path: str) -> dict[str, Any]:
        """What a background task says when it is through."""
        for _ in range(3000):
            said = self.get(path)
            if said["state"] != "working":
                return said
            time.sleep(0.1)
        raise AssertionError(said)


def run_page(resolvers: Resolvers, **options: Any) -> Iterator[Page]:
    server = uvicorn.Server(uvicorn.Config(create_app(resolvers, **options), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield Page(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(300)
