"""The exception tree of the site, each class with the HTTP status it becomes.

::

    SiteError (FedSegError)     400  every error that the site raises on purpose
    ├── ImageError              422  an image or mask cannot be read
    ├── GeometryError           422  a mask does not fit its image
    ├── LabelError              422  voxel values or names outside the label schema
    ├── NotFound                404  no such case, model, version, job or round
    ├── Forbidden               403  the caller lacks the role
    ├── Unauthorised            401  the caller did not say who they are
    ├── Conflict                409  the state does not allow it (already running, refused, nothing to do)
    ├── TooLarge                413  an upload above the limit
    ├── Unavailable             503  something needed is not there yet (courier, learner, checkpoint)
    ├── AdapterError            422  adapter tensors do not fit the model
    ├── StateError              500  the site's own records cannot be read or written
    └── Cancelled               409  long work was cancelled by its owner

``detail`` says what and which value, never a server path; ``hint`` says what to do.
"""

from __future__ import annotations

from fed_backend.errors import FedSegError

__all__ = [
    "AdapterError",
    "AuditError",
    "Cancelled",
    "Conflict",
    "Forbidden",
    "GeometryError",
    "ImageError",
    "LabelError",
    "NotFound",
    "SiteError",
    "StateError",
    "TooLarge",
    "Unauthorised",
    "Unavailable",
]


class SiteError(FedSegError):
    """Bad input to a site; the site's state is as it was."""

    status = 400


class ImageError(SiteError):
    """Raised when an image or mask file cannot be read as a 2D or 3D volume."""

    status = 422


class GeometryError(SiteError):
    """Raised when a mask's grid (shape, affine) is not its image's grid."""

    status = 422


class LabelError(SiteError):
    """Raised when a mask holds values, or a request names labels, outside the schema."""

    status = 422


class NotFound(SiteError):
    """Raised when a case, model, version, job or round does not exist."""

    status = 404


class Forbidden(SiteError):
    """Raised when the caller's role does not allow the action."""

    status = 403


class Unauthorised(SiteError):
    """Raised when the caller is unknown or the token is wrong."""

    status = 401


class Conflict(SiteError):
    """Raised when the site's state does not allow the action now."""

    status = 409


class TooLarge(SiteError):
    """Raised when an upload is above the site's limit."""

    status = 413


class Unavailable(SiteError):
    """Raised when something that is needed is not there (yet)."""

    status = 503


class AdapterError(SiteError):
    """Raised when adapter tensors do not fit the model by name, shape or value."""

    status = 422


class StateError(SiteError):
    """Raised when the site's own records cannot be read or written."""

    status = 500


class AuditError(SiteError):
    """Raised when the audit log is not what was written: changed, shortened, or with gaps."""

    status = 500


class Cancelled(SiteError):
    """Raised inside long work when its owner cancelled it."""

    status = 409
