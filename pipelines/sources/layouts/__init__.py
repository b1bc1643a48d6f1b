"""The layouts that a source may come in. The first one that knows a source lists its clips.

To add one, write a module here with a function `clips` and its line in `LAYOUTS`. In another package, an entry point of
the group `icface.layouts` leads to such a function. Those of other packages are asked first.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

from pipelines.sources.clip import Clip
from pipelines.sources.layouts import single, table, talkinghead, tree
from pipelines.sources.leftovers import Leftovers
from pipelines.storage import Folder

GROUP = "icface.layouts"

Layout = Callable[[Folder, str | None, Leftovers], list[Clip] | None]
"""A source to its clips, in any order; None where the source does not have this layout.

Told beside the source: what `--layout` says of folders, and `Leftovers` to note what is passed over in.
"""

LAYOUTS: tuple[Layout, ...] = (talkinghead.clips, tree.clips, table.clips, single.clips)


def layouts() -> Iterator[Layout]:
    """Those of installed packages, then those of this project."""
    for point in entry_points(group=GROUP):
        yield point.load()
    yield from LAYOUTS
