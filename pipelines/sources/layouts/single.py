"""A single clip as SOURCE."""

from pipelines.sources.clip import Clip, clip_name
from pipelines.sources.fetch import home
from pipelines.sources.leftovers import Leftovers
from pipelines.storage import Folder


def clips(source: Folder, layout: str | None, leftovers: Leftovers) -> list[Clip] | None:
    """The clip itself; none where there is no such file."""
    name = source.root.rsplit("/", 1)[-1]
    if home(source) is source:
        return None
    return [Clip(clip_name(name), name, int(source.fs.size(source.root)))] if source.exists("") else []
