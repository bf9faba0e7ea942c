"""The errors of the demonstration.

::

    FedSegError
    └── DemoError           the demonstration cannot start or go on
        ├── DatasetError    a data folder is incomplete, unreadable or contradicts itself
        ├── ProcessError    a process died or did not become ready
        └── SiteError       a site answered a request with an error, or did not answer
"""

from __future__ import annotations

from fed_backend.errors import FedSegError

__all__ = ["DatasetError", "DemoError", "ProcessError", "SiteError"]


class DemoError(FedSegError):
    """Raised when the demonstration cannot start or go on."""


class DatasetError(DemoError):
    """Raised when a data folder is incomplete, unreadable or contradicts itself."""


class ProcessError(DemoError):
    """Raised when a process dies early or is not ready in time; quotes the end of its log."""


class SiteError(DemoError):
    """Raised when a site answers a request with an error, or does not answer."""
