"""A csv file as SOURCE: of paths and identities, or first-order-model's spans of videos beside it."""

from pipelines.sources.clip import Clip
from pipelines.sources.fetch import TABLE_SUFFIX, home
from pipelines.sources.layouts.tables import is_metadata, listed_clips, read_table
from pipelines.sources.layouts.tree import clips_in
from pipelines.sources.leftovers import Leftovers
from pipelines.storage import Folder


def clips(source: Folder, layout: str | None, leftovers: Leftovers) -> list[Clip] | None:
    """The clips that the table lists."""
    folder, name = home(source), source.root.rsplit("/", 1)[-1]
    if folder is source or not name.lower().endswith(TABLE_SUFFIX) or not source.exists(""):
        return None
    header, rows = read_table(folder, name)
    if is_metadata(header):
        return clips_in(folder, name, leftovers, alone=True)
    return listed_clips(folder, header, rows, source.url)
