"""The calls to the site's sessions, one method per address. Blocking: run them on a worker lane."""

from __future__ import annotations

from urllib.parse import quote

from ..cancel import CancelSwitch
from ..consent import Consent
from ..errors import NotFound
from ..transport import Transport
from .protocol import Answer, Prompt, Propagation, Session, answer, propagation, session

_REPLY_LIMIT = 1 << 30


class SessionCalls:
    """``/sessions`` of a site.

    Args:
        transport: requests to the site.
        open_seconds: how long opening may take: the site reads the image.
        prompt_seconds: how long an answer may take: the first one on a slice computes its features.
    """

    def __init__(self, transport: Transport, open_seconds: float, prompt_seconds: float) -> None:
        self._transport = transport
        self._open_seconds = open_seconds
        self._prompt_seconds = prompt_seconds

    def open(self, image: str, model: str, label: str, cancel: CancelSwitch | None = None) -> Session:
        """``POST /sessions``, starting from the mask last shown."""
        body = {"image": image, "model": model, "label": label, "initial": True}
        reply = self._transport.request("POST", "/sessions", json_body=body, wait=self._open_seconds, cancel=cancel)
        return session(reply.body)

    def close(self, name: str, cancel: CancelSwitch | None = None) -> None:
        """``DELETE /sessions/{session}``; one that is gone is no matter."""
        try:
            self._transport.request("DELETE", self._path(name), cancel=cancel)
        except NotFound:
            return

    def prompt(self, name: str, prompt: Prompt, consent: Consent, cancel: CancelSwitch | None = None) -> Answer:
        """``POST .../prompts``; needs consent, because what the person points at is sent."""
        consent.check(self._transport.address)
        return self._step("POST", f"{self._path(name)}/prompts", cancel, prompt.as_json())

    def undo(self, name: str, cancel: CancelSwitch | None = None) -> Answer:
        """``POST .../undo``."""
        return self._step("POST", f"{self._path(name)}/undo", cancel, {})

    def redo(self, name: str, cancel: CancelSwitch | None = None) -> Answer:
        """``POST .../redo``."""
        return self._step("POST", f"{self._path(name)}/redo", cancel, {})

    def mask(self, name: str, cancel: CancelSwitch | None = None) -> Answer:
        """``GET .../mask``: everything that is labelled."""
        return self._step("GET", f"{self._path(name)}/mask", cancel)

    def changes(self, name: str, since: int, cancel: CancelSwitch | None = None) -> Answer:
        """``GET .../changes``: what changed after a step."""
        return self._step("GET", f"{self._path(name)}/changes", cancel, query={"since": str(since)})

    def propagate(self, name: str, label: str, axis: str, cancel: CancelSwitch | None = None) -> Propagation:
        """``POST .../propagate``."""
        body: dict[str, object] = {"label": label, **({"axis": axis} if axis else {})}
        reply = self._transport.request("POST", f"{self._path(name)}/propagate", json_body=body, cancel=cancel)
        return propagation(reply.body)

    def progress(self, name: str, cancel: CancelSwitch | None = None) -> Propagation:
        """``GET .../propagate``."""
        return propagation(self._transport.request("GET", f"{self._path(name)}/propagate", cancel=cancel).body)

    def stop(self, name: str, cancel: CancelSwitch | None = None) -> Propagation:
        """``DELETE .../propagate``; what was found is kept as one step."""
        return propagation(self._transport.request("DELETE", f"{self._path(name)}/propagate", cancel=cancel).body)

    def _step(
        self,
        method: str,
        path: str,
        cancel: CancelSwitch | None,
        body: dict[str, object] | None = None,
        query: dict[str, str] | None = None,
    ) -> Answer:
        reply = self._transport.request(
            method,
            path,
            json_body=body,
            query=query,
            wait=self._prompt_seconds,
            limit=_REPLY_LIMIT,
            cancel=cancel,
        )
        return answer(reply.body)

    @staticmethod
    def _path(name: str) -> str:
        return f"/sessions/{quote(name, safe='')}"
