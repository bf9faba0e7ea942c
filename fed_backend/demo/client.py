"""A site over HTTP, as an annotator's program sees it: next case, masks, corrections, learning, rounds."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import requests

from fed_backend.demo.errors import SiteError

__all__ = ["SiteClient", "read_nifti"]

CONNECT_S = 10.0
ANSWER_S = 300.0
POLL_S = 0.5


def read_nifti(data: bytes) -> npt.NDArray[np.uint8]:
    """A mask from the bytes of a ``.nii.gz`` or ``.nii`` file, [i, j, k]."""
    raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    mask = np.asarray(nib.Nifti1Image.from_bytes(raw).dataobj)
    return mask.astype(np.uint8)


class SiteClient:
    """One site. Not thread-safe: use one client a thread.

    Args:
        name: the site's name, for messages.
        url: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # loopback: no proxy, no netrc

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            reply = self._session.request(method, self.url + path, timeout=(CONNECT_S, ANSWER_S), **arguments)
        except requests.RequestException as error:
            raise SiteError(
                f"site {self.name} does not answer {method} {path}: {type(error).__name__}",
                f"see logs/site-{self.name}.log in the output folder",
            ) from None
        if not reply.ok:
            detail, hint = _problem(reply)
            raise SiteError(f"site {self.name} refused {method} {path} ({reply.status_code}): {detail}", hint)
        return reply

    def get(self, path: str, **query: str) -> Any:
        return self._request("GET", path, params=query).json()

    def next_case(self, strategy: str) -> str | None:
        """Image id that the site wants annotated next, ``None`` when there is none."""
        reply = self._request("POST", f"/activelearning/{strategy}", json={}).json()
        return str(reply["id"]) if reply.get("id") else None

    def segment(self, model: str, case: str, **params: Any) -> npt.NDArray[np.uint8]:
        """A mask of a whole case, [i, j, k] on the image's grid.

        Args:
            model: model to ask.
            case: image id.
            params: ``version``, or prompts (``label``, ``foreground``, ``background``, ``box``).
        """
        reply = self._request(
            "POST",
            f"/infer/{model}",
            params={"image": case, "output": "image"},
            data={"params": json.dumps({"result_extension": ".nii.gz", **params})},
        )
        return read_nifti(reply.content)

    def submit(self, case: str, label: Path, params: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a finished mask (tag ``final``); the reply tells which part the case went to."""
        with label.open("rb") as stream:
            reply = self._request(
                "PUT",
                "/datastore/label",
                params={"image": case, "tag": "final"},
                data={"params": json.dumps(dict(params))},
                files={"label": (label.name, stream, "application/gzip")},
            )
        answer: dict[str, Any] = reply.json()
        return answer

    def champion(self, model: str) -> str:
        """Id of the version that serves."""
        return str(self.get("/versions", model=model)["champion"][model])

    def versions(self, model: str) -> list[dict[str, Any]]:
        """Every version of ``model``, oldest first, the base among them."""
        found = [entry for entry in self.get("/versions", model=model)["versions"] if entry["model"] == model]
        return sorted(found, key=lambda entry: str(entry["id"]))

    def learn(self, model: str, steps: int, seed: int) -> Iterator[dict[str, Any]]:
        """Start local learning and yield its state until it ends.

        Raises:
            SiteError: the site refused, or the learning failed.
        """
        job = self._request("POST", "/learning", json={"model": model, "steps": steps, "seed": seed}).json()["job"]
        while True:
            state = self.get("/learning")
            if state["job"] == job:
                yield state
                if state["state"] in {"failed", "cancelled"}:
                    raise SiteError(f"learning at site {self.name} {state['state']}: {state['message']}")
                if state["state"] == "done":
                    return
            time.sleep(POLL_S)

    def approve_plan(self) -> str:
        """Approve the plan that the site holds, as its administrator; the plan's hash."""
        sha256 = str(self.get("/federation/plan")["sha256"])
        self._request("POST", "/federation/plan", json={"sha256": sha256})
        return sha256

    def start_rounds(self, rounds: int) -> str:
        """Ask the hub for ``rounds`` rounds; the id to watch them by."""
        return str(self._request("POST", "/federation/rounds", json={"rounds": rounds}).json()["id"])

    def watch_rounds(self, run: str, watch: Callable[[], None] = lambda: None) -> Iterator[dict[str, Any]]:
        """Yield the state of a run of rounds until it ends.

        Raises:
            SiteError: the run failed or was stopped.
        """
        while True:
            watch()
            state = self.get(f"/federation/rounds/{run}")
            yield state
            if state["state"] in {"failed", "stopped"}:
                raise SiteError(f"the federated rounds {state['state']}: {state.get('reason') or 'no reason given'}")
            if state["state"] == "finished":
                return
            time.sleep(POLL_S)


def _problem(reply: requests.Response) -> tuple[str, str]:
    """(detail, hint) of an error reply, whatever its form."""
    try:
        body = reply.json()
        return str(body["detail"]), str(body.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return reply.text[:200] or "no explanation", ""
