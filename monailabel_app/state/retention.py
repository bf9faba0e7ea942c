"""Which versions may be deleted: never one that serves or is recent, nor one that these descend from."""

from __future__ import annotations

from collections.abc import Iterable

from monailabel_app.state.versions import Version, VersionStore

__all__ = ["KEEP_LAST", "lineage", "prune"]

KEEP_LAST = 20


def lineage(versions: Iterable[Version], identifier: str) -> list[Version]:
    """A version and all that it descends from, youngest first, as far as they are known."""
    known = {version.id: version for version in versions}
    chain = []
    version = known.pop(identifier, None)
    while version is not None:
        chain.append(version)
        version = known.pop(version.parent or "", None)  # popped: a circle in damaged records ends
    return chain


def prune(store: VersionStore, keep_last: int = KEEP_LAST) -> list[str]:
    """Delete old versions that lead nowhere; returns their ids, oldest first.

    Kept are the champion, initial adapters, the newest ``keep_last``, and every version that one of
    these descends from: so rolling back always works, also from one that is promoted later, and what a
    version was trained on stays known.

    Raises:
        ValueError: ``keep_last`` below 1.
        NotFound: nothing serves yet; nothing is deleted.
        StateError: the champion's record is damaged; nothing is deleted.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last is {keep_last}; at least the newest version is kept")
    with store.locked():
        versions = store.list()
        champion = store.get(store.champion())
        wanted = {champion.id, *(version.id for version in versions[-keep_last:])}
        wanted |= {version.id for version in versions if version.origin == "base"}
        kept = {ancestor.id for identifier in wanted for ancestor in lineage(versions, identifier)}
        doomed = [version.id for version in versions if version.id not in kept]
        for identifier in doomed:
            store.remove(identifier)
    return doomed
