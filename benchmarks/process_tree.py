"""Which processes a process has started, and which still run."""

from pathlib import Path


def descendants(root: int) -> dict[int, str]:
    """Process ids below `root` with their command lines, words apart by spaces; a process that has ended, and that
    nobody has waited for, has an empty one.
    """
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in brackets may hold spaces; the parent is the second field after it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue

    def descends(process: int) -> bool:
        while process in parents and process != root:
            process = parents[process]
        return process == root

    return {process: name for process, name in names.items() if process != root and descends(process)}


def is_running(process: int) -> bool:
    """Whether a process runs: one that has ended, and that nobody has waited for, does not."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # it may go between two looks
        return False
