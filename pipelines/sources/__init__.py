"""Finding clips, in the layouts that VoxCeleb comes in, and deciding who is on which side of the split.

| SOURCE | a clip is |
|---|---|
| `[dev/mp4/]identity/video/clip.mp4` | the file; the two folders above it are its identity and its video |
| `txt/identity/video/clip.txt` and videos | the frames of a full video that the track names, around its face |
| `vox-metadata.csv` and videos | the same by first-order-model's table |
| `identity#video#start#end.mp4`, or a folder of PNGs of that name | the file or folder |
| `data_list/*_video_tubes.txt` and one-minute pieces | TalkingHead-1KH's clips, cut already or as spans of a piece |
| `identity/video/clip/0000000.png` | the folder: its pictures are the frames |
| a csv with the columns `path` and `identity` | the file that the row names |
"""

from pipelines.sources.clip import SPLITS, Clip
from pipelines.sources.fetch import ClipFiles
from pipelines.sources.grouping import group_clips, shard_name
from pipelines.sources.leftovers import Leftovers
from pipelines.sources.listing import list_clips
from pipelines.sources.spans import ClipSpan, read_span
from pipelines.sources.splits import assign_splits, official_test, stated_splits

__all__ = [
    "SPLITS",
    "Clip",
    "ClipFiles",
    "ClipSpan",
    "Leftovers",
    "assign_splits",
    "group_clips",
    "list_clips",
    "official_test",
    "read_span",
    "shard_name",
    "stated_splits",
]
