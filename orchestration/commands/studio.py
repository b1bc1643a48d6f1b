"""`icface studio [MODEL ...]`."""

import secrets
from collections.abc import Sequence

from icface.errors import IcfaceError
from icface.words import pip_install
from orchestration.commands import parse
from orchestration.config import StudioJob
from orchestration.terminal import Reporter


def main(argv: Sequence[str]) -> None:
    job = parse(StudioJob, argv, "studio")
    import torch

    try:
        from icface.studio.server import serve
    except ModuleNotFoundError as error:
        raise IcfaceError(f"the page needs {error.name}: {pip_install('fastapi', 'uvicorn')}") from None
    from orchestration.studio import resolvers

    if job.gpu and not torch.cuda.is_available():
        raise IcfaceError("--gpu: PyTorch sees no GPU here; leave --gpu out (`icface doctor` tells what is missing)")
    token = secrets.token_urlsafe(18) if job.auth == "generate" else job.auth
    with Reporter(plain=True) as reporter:
        serve(resolvers(job), job.host, job.port, token, "cuda" if job.gpu else "cpu", reporter.say)
