"""Clips to groups, each a shard; a group's name is that of its contents."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple

from pipelines.sources.clip import Clip


def group_clips(clips: list[Clip], target: int) -> list[list[Clip]]:
    """Cut sorted clips into groups of about `target`, at most twice as many.

    A group ends where the hash of a clip's name says so: added clips change the groups that they fall into, and
    no others.
    """
    groups: list[list[Clip]] = []
    current: list[Clip] = []
    for clip in clips:
        current.append(clip)
        ends = int.from_bytes(hashlib.sha256(clip.clip.encode()).digest()[:8]) % target == 0
        if ends or len(current) >= 2 * target:
            groups.append(current)
            current = []
    if current:
        groups.append(current)
    return groups


def shard_name(split: str, clips: Iterable[Clip]) -> str:
    """Name of the shard that holds exactly these clips: another file, size, part or split gives another name."""
    digest = hashlib.sha256(split.encode())
    for clip in clips:
        digest.update(f"\0{clip.clip}\0{clip.path}\0{clip.size}".encode())
        if clip.span:
            digest.update(f"\0{json.dumps(astuple(clip.span))}".encode())
    return digest.hexdigest()[:20]
