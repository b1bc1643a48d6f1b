"""Who was taken out of a data set, so that no later run brings them back."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from icface.errors import IcfaceError
from pipelines.shard import Shard
from pipelines.storage import Folder

EXCLUSIONS = "exclusions.json"


@dataclass(frozen=True)
class Exclusions:
    """Identities and clips that stay out of a data set."""

    identities: frozenset[str] = frozenset()
    clips: frozenset[str] = frozenset()
    """Names: identity/video/clip."""
    shards: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Of each shard that was made smaller: the whole one's name, and the clips that are out of it."""

    @classmethod
    def read(cls, dataset: Folder) -> "Exclusions":
        """What the data set's `exclusions.json` says; nothing where there is none. Raises IcfaceError if damaged."""
        try:
            values = json.loads(dataset.read(EXCLUSIONS))
            shards = {name: (whole, tuple(clips)) for name, (whole, clips) in values["shards"].items()}
            return cls(frozenset(values["identities"]), frozenset(values["clips"]), shards)
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise IcfaceError(f"{dataset.url}/{EXCLUSIONS} is damaged; mend it before anything else is done") from None

    def write(self, dataset: Folder) -> None:
        """Keep it in the data set."""
        values = {
            "identities": sorted(self.identities),
            "clips": sorted(self.clips),
            "shards": {name: [whole, list(clips)] for name, (whole, clips) in self.shards.items()},
        }
        dataset.write(EXCLUSIONS, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())

    def holds(self, clip: str) -> bool:
        """Whether the clip of this name stays out.

        >>> Exclusions(identities=frozenset({"ann"})).holds("ann/v/1")
        True
        """
        return clip in self.clips or clip.split("/")[0] in self.identities

    def applied(self, shard: Shard) -> Shard:
        """The whole `shard` without the clips that stay out; another name where there are any."""
        out = [clip.clip for clip in shard.clips if self.holds(clip.clip)]
        if not out:
            return shard
        kept = tuple(clip for clip in shard.clips if not self.holds(clip.clip))
        return replace(shard, name=name_without(shard.name, out), clips=kept)


def name_without(name: str, clips: Iterable[str]) -> str:
    """Name of the whole shard `name` once `clips` are out of it."""
    return hashlib.sha256("\0".join([name, *sorted(clips)]).encode()).hexdigest()[:20]
