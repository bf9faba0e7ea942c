"""The calls to a site, one method per endpoint, typed both ways. Blocking: run them on a worker lane.

What sends something of the person's (a mask, points, a box) takes the :class:`Consent` for this server.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from . import cases
from .address import Address
from .cancel import CancelSwitch
from .cases import CaseRow
from .consent import Consent
from .decoding import decode_mask
from .errors import ConsentMissing, LabelMismatch, NotAllowed, NotFound, ProtocolError
from .fields import Fields, parse_object
from .language import tr as _
from .live.calls import SessionCalls
from .multipart import parse_multipart
from .outbox import Parcel
from .oversight import OversightCalls
from .protocol import LabelSchema, Mask, NextCase, Prompts, Receipt, SiteInfo, mask, next_case, receipt, site_info
from .transport import Upload

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

_IMAGE_LIMIT = 8 << 30
_MASK_LIMIT = 1 << 30


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment.

    Attributes:
        case: id of the image at the site.
        model: name of the model.
        label: structure that the prompts are about; "" for automatic segmentation of all.
        prompts: what was pointed at.
        suffix: kind of mask file wanted.
        version: which version answers; "" for the one that serves.
    """

    case: str
    model: str
    label: str = ""
    prompts: Prompts = field(default_factory=Prompts)
    suffix: str = ".nrrd"
    version: str = ""


class SiteClient(OversightCalls):
    """A site, as the module sees it."""

    @property
    def address(self) -> Address:
        """The site's address."""
        return self._transport.address

    @property
    def sessions(self) -> SessionCalls:
        """Interactive sessions of the site."""
        return SessionCalls(self._transport, self._timeouts.transfer, self._timeouts.infer)

    def sign_in(self, user: str, password: str, cancel: CancelSwitch | None = None) -> None:
        """Exchange name and password for a token, and use it from now on.

        Raises:
            SignInNeeded: wrong name or password.
            ProtocolError: the server gave no token.
        """
        form = {"username": user, "password": password, "grant_type": "password"}
        reply = self._transport.request("POST", "/auth/token", form=form, wait=self._timeouts.quick, cancel=cancel)
        token = Fields(parse_object(reply.body, _("the sign-in")), _("the sign-in")).maybe_text("access_token")
        if not token:
            raise ProtocolError(
                _("The server gave no sign-in token."), _("It may not ask for a sign-in: connect without.")
            )
        self._transport.use_token(token)

    def info(self, cancel: CancelSwitch | None = None) -> SiteInfo:
        """``GET /info/``."""
        try:
            reply = self._transport.request("GET", "/info/", wait=self._timeouts.quick, cancel=cancel)
        except NotFound:
            raise ProtocolError(
                _("{url} answers, but is not a MONAI Label server.").format(url=self.address.url),
                _("Check the address and the port."),
            ) from None
        return site_info(reply.body)

    def next_case(self, strategy: str, cancel: CancelSwitch | None = None) -> NextCase | None:
        """``POST /activelearning/{strategy}``; None when no case is left."""
        path = f"/activelearning/{quote(strategy, safe='')}"
        reply = self._transport.request("POST", path, json_body={}, wait=self._timeouts.transfer, cancel=cancel)
        return next_case(reply.body)

    def cases(self, stock: bool, cancel: CancelSwitch | None = None) -> tuple[CaseRow, ...]:
        """``GET /datastore/?output=all`` and, on a FedSeg site, corrections and open sessions: the work list."""
        known = cases.index(self._quick("GET", "/datastore/?output=all", cancel=cancel))
        if stock:
            return cases.work_list(known, [], frozenset())
        submitted = cases.corrections(self._quick("GET", "/corrections", cancel=cancel))
        try:
            opened = cases.in_work(self._quick("GET", "/sessions", cancel=cancel))
        except NotAllowed:  # a viewer has none
            opened = frozenset()
        return cases.work_list(known, submitted, opened)

    def thumbnail(self, case: str, size: int, cancel: CancelSwitch | None = None) -> bytes:
        """``GET /datastore/image/thumbnail``: a PNG file."""
        query = {"image": case, "size": str(size)}
        return self._transport.request(
            "GET", "/datastore/image/thumbnail", query=query, wait=self._timeouts.transfer, cancel=cancel
        ).body

    def final_mask(self, case: str, schema: LabelSchema, cancel: CancelSwitch | None = None) -> Mask | None:
        """``GET /datastore/label``: the mask submitted last; None when there is none."""
        try:
            reply = self._transport.request(
                "GET",
                "/datastore/label",
                query={"label": case, "tag": cases.FINAL},
                wait=self._timeouts.transfer,
                limit=_MASK_LIMIT,
                cancel=cancel,
            )
        except NotFound:
            return None
        suffix = _suffix(_sent_name(reply.headers.get("Content-Disposition", "")), MASK_SUFFIXES)
        found = Mask(reply.body, suffix, schema.values(), "", None, {})
        with contextlib.suppress(LabelMismatch):  # told when it is shown: the case can be opened without it
            return _decoded(found, schema)
        return found

    def add_image(self, name: str, path: Path, cancel: CancelSwitch | None = None) -> str:
        """``PUT /datastore/image``: the image in ``path`` becomes a case of the site; returns its id.

        The caller asked the person for exactly this image.
        """
        reply = self._transport.request(
            "PUT",
            "/datastore/image",
            query={"image": name},
            upload=Upload("file", f"{name}{_suffix(path.name, IMAGE_SUFFIXES)}", path),
            wait=self._timeouts.transfer,
            cancel=cancel,
        )
        return Fields(parse_object(reply.body, _("the new case")), _("the new case")).text("image", name)

    def download_image(
        self,
        case: str,
        folder: Path,
        cancel: CancelSwitch | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Path:
        """``GET /datastore/image``: write the image into ``folder`` and return its path.

        The file's name is made here; of the server's name only a known suffix is used.

        Raises:
            ProtocolError: a kind of file that Slicer does not read as an image, or a cut-off reply.
        """
        part = folder / "image.part"
        try:
            with part.open("wb") as sink:
                reply = self._transport.request(
                    "GET",
                    "/datastore/image",
                    query={"image": case},
                    wait=self._timeouts.transfer,
                    limit=_IMAGE_LIMIT,
                    sink=sink,
                    cancel=cancel,
                    progress=progress,
                )
            suffix = _suffix(_sent_name(reply.headers.get("Content-Disposition", "")), IMAGE_SUFFIXES)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        path = folder / f"image{suffix}"
        part.replace(path)
        return path

    def segment(
        self,
        request: SegmentRequest,
        schema: LabelSchema,
        consent: Consent | None = None,
        cancel: CancelSwitch | None = None,
    ) -> Mask:
        """``POST /infer/{model}``: automatic, or with prompts (which needs consent: they are sent).

        Raises:
            ConsentMissing: prompts without consent for this server.
            ProtocolError: a reply without a mask.
        """
        params: dict[str, object] = {"result_extension": request.suffix}
        if request.version:
            params["version"] = request.version
        if request.prompts:
            self._need(consent)
            params |= {"label": request.label, **request.prompts.as_params()}
            if request.label:
                params[request.label] = params["foreground"]  # MONAI Label's DeepEdit reads points by structure
        reply = self._transport.request(
            "POST",
            f"/infer/{quote(request.model, safe='')}",
            query={"image": request.case, "output": "all"},
            form={"params": json.dumps(params)},
            wait=self._timeouts.infer,
            limit=_MASK_LIMIT,
            cancel=cancel,
        )
        parts = parse_multipart(reply.headers.get("Content-Type", ""), reply.body)
        image = parts.get("image") or parts.get("file")
        if image is None or "params" not in parts:
            raise ProtocolError(
                _("The model '{model}' answered without a mask.").format(model=request.model),
                _("Try again, or choose another model."),
            )
        suffix = _suffix(image.filename, MASK_SUFFIXES)
        return _decoded(mask(parts["params"].content, image.content, suffix, request.model, schema), schema)

    def deliver(self, parcel: Parcel, path: Path, consent: Consent, cancel: CancelSwitch | None = None) -> Receipt:
        """Submit a mask from the outbox.

        Raises:
            ConsentMissing: it belongs to another server.
        """
        if parcel.server != self.address.url:
            raise ConsentMissing(
                _("The mask of '{case}' belongs to {server}.").format(case=parcel.case, server=parcel.server),
                _("Connect there."),
            )
        return self.submit(
            parcel.case,
            path,
            parcel.schema,
            consent,
            author=parcel.author,
            seconds=parcel.seconds,
            clicks=parcel.clicks,
            cancel=cancel,
        )

    def submit(
        self,
        case: str,
        path: Path,
        schema: LabelSchema,
        consent: Consent,
        *,
        author: str = "",
        seconds: float | None = None,
        clicks: int | None = None,
        cancel: CancelSwitch | None = None,
    ) -> Receipt:
        """``PUT /datastore/label`` with tag ``final``: the corrected mask in ``path``.

        Args:
            author: who corrected it; "" to leave it to the sign-in.
            seconds: time spent on the case; None not to tell.
            clicks: prompts and buttons used on it; None not to tell.
        """
        self._need(consent)
        params: dict[str, object] = {
            "label_info": [{"name": label.name, "idx": label.value} for label in schema.labels],
        }
        if author:
            params["author"] = author
        if seconds is not None:
            params["seconds"] = round(seconds, 1)
        if clicks is not None:
            params["clicks"] = clicks
        suffix = _suffix(path.name, MASK_SUFFIXES)
        reply = self._transport.request(
            "PUT",
            "/datastore/label",
            query={"image": case, "tag": "final"},
            form={"params": json.dumps(params)},
            upload=Upload("label", f"mask{suffix}", path),
            wait=self._timeouts.transfer,
            cancel=cancel,
        )
        return receipt(reply.body, case)

    def _need(self, consent: Consent | None) -> None:
        if consent is None:
            raise ConsentMissing(
                _("You have not agreed to send anything to {url}.").format(url=self.address.url),
                _("Read what would be sent, then agree."),
            )
        consent.check(self.address)


def _decoded(found: Mask, schema: LabelSchema) -> Mask:
    """With its voxels, where they can be read here (worker thread)."""
    return replace(found, voxels=decode_mask(found.content, found.suffix, found.label_names, schema))


def _sent_name(disposition: str) -> str:
    """File name in a Content-Disposition header, plain or RFC 5987; "" when there is none."""
    found = re.search(r"filename\*?=(?:\"([^\"]*)\"|([^;\s]+))", disposition)
    return (found.group(1) or found.group(2) or "") if found else ""


def _suffix(name: str, known: tuple[str, ...]) -> str:
    lower = name.lower()
    for suffix in known:
        if lower.endswith(suffix):
            return suffix
    raise ProtocolError(
        _("The server sent a file of an unknown kind ('{name}').").format(name=name[-30:]),
        _("Known kinds: {kinds}.").format(kinds=", ".join(known)),
    )
