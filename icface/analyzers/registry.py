"""The analyzers that there are, and what is known of each before its module is imported.

To add one, write a class that follows `icface.analyzers.face.Analyzer`, and one `Registration` in `BUILT_IN` here. In
another package, an entry point of the group `icface.analyzers` leads to a `Registration`. Configuration, command line
and doctor derive from it. This module is light: it imports neither numpy nor any analyzer.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Self

from icface.errors import IcfaceError
from icface.options import Decides, decided
from icface.words import pip_install

if TYPE_CHECKING:
    from icface.analyzers.face import Analyzer

GROUP = "icface.analyzers"
"""Entry points of other packages that name a `Registration`."""
SYNTHETIC = "synthetic"
"""The `analyzer` of data sets of rendered people. It measured nothing, so it cannot be asked for."""
DEFAULT = "mediapipe"
"""Measures pictures wherever the analyzer that labelled the training data reads files and cannot."""


@dataclass(frozen=True, kw_only=True)
class AnalyzerOptions:
    """What a user may tell an analyzer: a field `x` of the analyzer NAME is the flag `--NAME-x`.

    The fields are keyword arguments of the analyzer's class. Those that change labels are marked with `Decides`.
    """

    def resolved(self, source: str, gpu: bool) -> Self:
        """These options with what was left open filled in; `source` holds the clips, `gpu`: whether there is one."""
        return self


@dataclass(frozen=True, kw_only=True)
class OpenFaceOptions(AnalyzerOptions):
    """Options of OpenFace's csv files."""

    root: Decides[str | None] = None
    """Where OpenFace's csv files lie (`identity/video/clip.csv`), by default beside the clips; a path or a URL."""
    confidence: Decides[float] = 0.8
    """Rows of OpenFace's files of less confidence have no face, 0..1."""

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"openface_confidence must lie in 0..1, not {self.confidence}")

    def resolved(self, source: str, gpu: bool) -> Self:
        """With `source` as the folder of the csv files, where none is given."""
        return self if self.root else type(self)(root=source, confidence=self.confidence)


@dataclass(frozen=True, kw_only=True)
class PyFeatOptions(AnalyzerOptions):
    """Options of py-feat."""

    detector: Decides[Literal["auto", "v1", "v2", "mp"]] = "auto"
    """py-feat's Detectorv1, Detectorv2 or MPDetector; `auto` is v2 where `gpus` gives a process one, else v1."""
    weights: str | None = None
    """Folder of py-feat's weights, laid out as the hub's cache; by default the hub is asked."""

    def resolved(self, source: str, gpu: bool) -> Self:
        """With the detector that `auto` stands for."""
        if self.detector != "auto":
            return self
        return type(self)(detector="v2" if gpu else "v1", weights=self.weights)


@dataclass(frozen=True, kw_only=True)
class MediaPipeTorchOptions(AnalyzerOptions):
    """Options of MediaPipe's networks in torch."""

    detect_every: Decides[int] = 1
    """The face detector looks at each Nth frame, and where a face was lost; in between faces are followed."""

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ValueError(f"detect_every must be at least 1, not {self.detect_every}")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """An analyzer that can be asked for by name."""

    implementation: str
    """`module:Class`, imported when the analyzer is made."""
    options: type[AnalyzerOptions] = AnalyzerOptions
    reads_files: bool = False
    """It reads labels made beforehand and cannot measure a picture."""
    uses_gpu: bool = False
    """Its class takes `device`, torch's name of one."""
    tells_confidence: bool = True
    """Its faces have a confidence of their own; else it is 1 always."""
    on_gpu: str | None = None
    """The analyzer that measures the same on a GPU: with equal weights and mapping its fingerprint ends alike."""
    of_sequences: frozenset[str] = frozenset()
    """Options that count on frames that follow each other; single pictures are measured without them."""
    without_prefix: frozenset[str] = frozenset()
    """Options whose flag is their own name: what other analyzers may have too. Others begin with the analyzer's."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Distributions that it needs beside the project's own, and how each is installed."""


BUILT_IN = {
    "mediapipe": Registration(
        implementation="icface.analyzers.mediapipe:MediaPipeAnalyzer",
        tells_confidence=False,
        on_gpu="mediapipe-torch",
    ),
    "mediapipe-torch": Registration(
        implementation="icface.analyzers.mediapipe_torch.analyzer:MediaPipeTorchAnalyzer",
        options=MediaPipeTorchOptions,
        uses_gpu=True,
        of_sequences=frozenset({"detect_every"}),
        without_prefix=frozenset({"detect_every"}),
    ),
    "openface": Registration(
        implementation="icface.analyzers.openface:OpenFaceAnalyzer", options=OpenFaceOptions, reads_files=True
    ),
    "pyfeat": Registration(
        implementation="icface.analyzers.pyfeat:PyFeatAnalyzer",
        options=PyFeatOptions,
        uses_gpu=True,
        packages={"py-feat": "make setup-pyfeat, then .venv-pyfeat/bin/icface"},
    ),
    "dlib": Registration(
        implementation="icface.analyzers.dlib:DlibAnalyzer",
        packages={"dlib-bin": pip_install("dlib-bin")},
    ),
}


@cache
def registrations() -> Mapping[str, Registration]:
    """Every analyzer by name: those of this project, then those that installed packages add.

    Raises IcfaceError when a package's entry point is not a `Registration`.
    """
    found = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        registration = point.load()
        if not isinstance(registration, Registration):
            raise IcfaceError(f"the entry point {point.value} ({GROUP}) is not a Registration; correct that package")
        found.setdefault(point.name, registration)
    return found


def registration(name: str) -> Registration:
    """Raises IcfaceError when there is no analyzer of that name."""
    found = registrations()
    if name == SYNTHETIC:
        return Registration(implementation="", reads_files=True)
    if name not in found:
        raise IcfaceError(f"unknown analyzer {name!r}; known are {', '.join(found)}")
    return found[name]


def flags() -> Iterator[tuple[str, str, str]]:
    """Each analyzer's options: the name in flat configurations (`pyfeat_detector`), the analyzer's and the field's.

    >>> {("pyfeat_detector", "pyfeat", "detector"), ("detect_every", "mediapipe-torch", "detect_every")} <= {*flags()}
    True
    """
    for name, known in registrations().items():
        for option in fields(known.options):
            own = option.name in known.without_prefix
            yield option.name if own else f"{name.replace('-', '_')}_{option.name}", name, option.name


def create(name: str, **options: Any) -> "Analyzer":
    """The analyzer called `name`; `options` go to its class.

    Raises IcfaceError when there is none of that name, it lacks what it needs, or it does not know an option.
    """
    if name == SYNTHETIC:
        raise IcfaceError("synthetic labels are known from rendering: name an analyzer that measures pictures")
    module, kind = registration(name).implementation.split(":")
    analyzer: Analyzer = getattr(import_module(module), kind)(**options)
    return analyzer


def created(name: str, options: AnalyzerOptions, gpu: bool = False) -> "Analyzer":
    """The analyzer called `name` with resolved options, on the GPU if there is one and it can use it."""
    device = {"device": "cuda" if gpu else "cpu"} if registration(name).uses_gpu else {}
    return create(name, **asdict(options), **device)


def record(name: str, options: AnalyzerOptions, fingerprint: str) -> dict[str, Any]:
    """What data sets and bundles say of who measured: enough for `from_record` to make the same analyzer again."""
    return {"name": name, "options": decided(options), "fingerprint": fingerprint}


def from_record(entry: Mapping[str, Any], device: str = "cpu", **here: Any) -> "Analyzer":
    """The analyzer that `record` describes, to measure more pictures; `here`: further arguments of its class.

    `DEFAULT` where that one reads files or nothing is recorded. On a `device` other than the CPU it is the one that
    measures the same there, if there is one. Raises IcfaceError when it cannot be made. It does too when this one's
    fingerprint differs in more than the release of its library: its numbers would mean something else.
    """
    labelled = entry.get("name", DEFAULT)
    measures = not registration(labelled).reads_files
    wanted = entry.get("fingerprint") if measures else None
    name = for_device(labelled if measures else DEFAULT, device)
    options = dict(entry.get("options", {})) if measures else {}
    for option in registration(name).of_sequences:
        options.pop(option, None)
    if registration(name).uses_gpu:
        options["device"] = device
    analyzer = create(name, **{**options, **here})
    if wanted and _kind(wanted, name != labelled) != _kind(analyzer.fingerprint, name != labelled):
        found = analyzer.fingerprint
        analyzer.close()
        raise IcfaceError(
            f"the labels were measured by {wanted}, and the analyzer {name} here is {found}: install the icface and "
            "the weights of that time, or preprocess the clips again"
        )
    return analyzer


def for_device(name: str, device: str) -> str:
    """The analyzer that measures as `name` does and runs on torch's `device`; `name` itself where there is none.

    >>> for_device("mediapipe", "cuda"), for_device("mediapipe", "cpu"), for_device("dlib", "cuda")
    ('mediapipe-torch', 'mediapipe', 'dlib')
    """
    other = registration(name).on_gpu
    return name if other is None or device == "cpu" else other


def _kind(fingerprint: str, elsewhere: bool = False) -> str:
    """A fingerprint without the release of its library; `elsewhere`: without the library's name too.

    >>> _kind("mediapipe 0.10.21, weights 64184e22, mapping 1")
    'mediapipe, weights 64184e22, mapping 1'
    """
    if elsewhere:
        return fingerprint.partition(", ")[2]
    return re.sub(r"^(\S+) \d[\w.]*", r"\1", fingerprint)
