"""Every error that a person can meet in the module, each with what to do about it.

::

    FedSegError
    ├── BadAddress          the text is not the address of a server
    ├── Unreachable         nothing answers there
    │   ├── TlsRefused      the server could not prove who it is
    │   └── TimedOut        it answered too slowly
    ├── Refused             the server answered no (status, error name)
    │   ├── SignInNeeded    401
    │   ├── NotAllowed      403
    │   ├── NotFound        404
    │   ├── Busy            409 and 429
    │   └── ServerFault     5xx
    ├── ProtocolError       the reply is not what the protocol says
    ├── ConsentMissing      an upload without the person's consent for this server
    ├── Cancelled           the person stopped it
    ├── OutboxFault         a mask cannot be kept on this computer
    ├── LocalSiteFault      a site on this computer cannot be started
    ├── ActionNotPossible   the module's state does not allow the action
    └── CaseError           something about the open case
        ├── CaseGone        its volume or segmentation left the scene
        ├── ImageUnreadable the image file is not a volume
        ├── GeometryMismatch a mask does not lie on the image's voxels
        ├── LabelMismatch   structures and the site's label schema disagree
        ├── EmptyMask       there is nothing to submit
        └── PromptOutside   a point or box misses the image

``str(error)`` says what happened and which value; ``error.hint`` says what to do.
"""

from __future__ import annotations


class FedSegError(Exception):
    """Raised by nothing itself; the root to catch."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadAddress(FedSegError):
    """Raised when a text cannot be the address of a site server."""


class Unreachable(FedSegError):
    """Raised when no connection to the server can be made or it broke off."""


class TlsRefused(Unreachable):
    """Raised when the server's certificate does not verify."""


class TimedOut(Unreachable):
    """Raised when the server did not answer in the time allowed."""


class Refused(FedSegError):
    """Raised when the server answered with an error status.

    Args:
        message: the server's own words where it gave any.
        hint: the server's hint, or ours.
        status: the HTTP status.
        name: the server's name for the error ("" from stock servers).
    """

    def __init__(self, message: str, hint: str = "", *, status: int = 0, name: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.name = name


class SignInNeeded(Refused):
    """Raised for 401: nobody is signed in, or the sign-in ran out."""


class NotAllowed(Refused):
    """Raised for 403: the person's role does not allow it."""


class NotFound(Refused):
    """Raised for 404: no such case, model or round (or a stock server without that endpoint)."""


class Busy(Refused):
    """Raised for 409 and 429: the site's state does not allow it now."""


class ServerFault(Refused):
    """Raised for 5xx: the server failed."""


class ProtocolError(FedSegError):
    """Raised when a reply is cut short, malformed or lacks what it must have."""


class ConsentMissing(FedSegError):
    """Raised when something would be sent to a server without consent for that server."""


class Cancelled(FedSegError):
    """Raised inside work that the person stopped."""


class OutboxFault(FedSegError):
    """Raised when a submitted mask cannot be written to this computer's disk."""


class LocalSiteFault(FedSegError):
    """Raised when a site server on this computer cannot be started, or ended at its start."""


class ActionNotPossible(FedSegError):
    """Raised when an action is asked for that the present state does not allow."""


class CaseError(FedSegError):
    """Raised for faults of the open case; nothing was changed or sent."""


class CaseGone(CaseError):
    """Raised when the case's volume or segmentation is no longer in the scene."""


class ImageUnreadable(CaseError):
    """Raised when a file cannot be read as a volume."""


class GeometryMismatch(CaseError):
    """Raised when a mask's voxels are not the image's voxels."""


class LabelMismatch(CaseError):
    """Raised when segment names or voxel values do not fit the site's label schema."""


class EmptyMask(CaseError):
    """Raised when no structure of the schema holds a voxel."""


class PromptOutside(CaseError):
    """Raised when a point or a box lies outside the image."""


_BY_STATUS: dict[int, type[Refused]] = {401: SignInNeeded, 403: NotAllowed, 404: NotFound, 409: Busy, 429: Busy}


def refused_class(status: int) -> type[Refused]:
    """Class of error for an HTTP status >= 400."""
    return _BY_STATUS.get(status, ServerFault if status >= 500 else Refused)
