"""One thread per site, with an eye on the processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["in_parallel"]

T = TypeVar("T")


def in_parallel(jobs: Mapping[str, Callable[[], T]], watch: Callable[[], None] = lambda: None) -> dict[str, T]:
    """Run one function per site in threads and return their results by site.

    The first error ends the wait; so does ``watch``, which is called a few times a second. The
    threads are daemons: what they wait for ends when the processes are stopped.
    """
    results: dict[str, T] = {}
    errors: list[BaseException] = []
    finished = threading.Event()

    def work(name: str, job: Callable[[], T]) -> None:
        try:
            results[name] = job()
        except Exception as error:
            errors.append(error)
        if errors or len(results) == len(jobs):
            finished.set()

    for name, job in jobs.items():
        threading.Thread(target=work, args=(name, job), name=f"demo-{name}", daemon=True).start()
    while not finished.wait(0.3):
        watch()
    if errors:
        watch()  # a site that died explains more than the broken connection to it
        raise errors[0]
    return {name: results[name] for name in jobs}
