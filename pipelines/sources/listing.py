"""What lies in a source, whatever its layout."""

from operator import attrgetter

from icface.errors import IcfaceError
from pipelines.sources.clip import Clip
from pipelines.sources.layouts import layouts
from pipelines.sources.layouts.tree_names import check_unique
from pipelines.sources.leftovers import Leftovers
from pipelines.storage import Folder


def list_clips(source: Folder, layout: str | None = None, leftovers: Leftovers | None = None) -> list[Clip]:
    """The clips of `source`, sorted by name; see `pipelines.sources` for the layouts.

    The two folders above a clip are its identity and its video. A clip in a single folder has that as identity; a
    clip in no folder is a person of its own. `source` may be a single clip or a csv. A track, or a row of
    vox-metadata.csv, whose clip lies there cut already is that clip; one without its video is left out, and a warning
    says how many. `layout` names the folders of other trees, see `TreeLayout`; `leftovers` is told what is passed over.

    Raises IcfaceError when nothing is found, two files make the same name, or a tree without a layout is deeper than
    identity/video/clip.
    """
    leftovers = leftovers if leftovers is not None else Leftovers()
    listed = (known(source, layout, leftovers) for known in layouts())
    clips = sorted(next((found for found in listed if found is not None), []), key=attrgetter("clip"))
    if not clips:
        if not source.exists(""):
            raise IcfaceError(f"{source.url} does not exist; SOURCE is a folder of clips: identity/video/clip.mp4")
        passed_over = "; ".join(["", *leftovers.sentences()])
        raise IcfaceError(
            f"{source.url} holds no clips (.mp4, .mov, .mkv, .webm, ..., folders of numbered pictures){passed_over}"
        )
    check_unique(clips, source.url)
    return clips
