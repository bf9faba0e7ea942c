"""Hosts with addresses of their own on one wire, as Linux network namespaces; lines that can be cut and healed.

The wire is a bridge in a namespace of its own: the machine's network is not touched, and :meth:`Net.remove` leaves
nothing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
HUB = "hub.fedseg.test"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Net:
    """Hosts by name; the n-th has the address 10.77.0.n, and the one called ``hub`` answers to :data:`HUB`.

    Args:
        hosts: their names, at most 8 letters each.

    Raises:
        OSError, subprocess.CalledProcessError: the machine does not allow it; nothing is left behind.
    """

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self._mark = f"fedseg{os.getpid()}"
        self._wire = self.namespace("wire")
        self._made: list[str] = []
        try:
            self._make(self._wire)
            ip("-n", self._wire, "link", "add", "wire", "type", "bridge")
            ip("-n", self._wire, "link", "set", "wire", "up")
            for host in hosts:
                self._attach(host)
        except BaseException:
            self.remove()
            raise

    def namespace(self, host: str) -> str:
        """Name of a host's namespace."""
        return f"{self._mark}-{host}"

    def address(self, host: str) -> str:
        return f"10.77.0.{self.hosts.index(host) + 1}"

    def command(self, host: str) -> list[str]:
        """What a command line begins with to run at a host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def cut(self, host: str, *, pulled: bool = False) -> None:
        """Cut a host's line: its cable is pulled, or what it sends and is sent vanishes without a sign."""
        change = ["down"] if pulled else ["nomaster"]
        ip("-n", self._wire, "link", "set", f"to-{host}", *change)

    def heal(self, host: str) -> None:
        ip("-n", self._wire, "link", "set", f"to-{host}", "master", "wire", "up")

    @contextmanager
    def at(self, host: str) -> Iterator[None]:
        """This thread's connections are those of a host."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.namespace(host)}") as there:
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(home.fileno(), _CLONE_NEWNET)

    def remove(self) -> None:
        for name in self._made:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        with suppress(OSError):
            Path("/etc/netns").rmdir()

    def _make(self, name: str) -> None:
        ip("netns", "add", name)
        self._made.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def _attach(self, host: str) -> None:
        name = self.namespace(host)
        self._make(name)
        names = Path("/etc/netns") / name / "hosts"
        names.parent.mkdir(parents=True)
        hub = f"{self.address('hub')} {HUB}\n" if "hub" in self.hosts else ""
        names.write_text(f"127.0.0.1 localhost\n{hub}")
        ip("-n", self._wire, "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        self.heal(host)
