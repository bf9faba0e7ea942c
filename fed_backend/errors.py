"""The exception tree of ``fed_backend``.

::

    FedSegError            every error that this project raises on purpose
    ├── PlanError          a plan cannot be read, or contradicts itself
    ├── PayloadError       a payload was refused: malformed, oversized, or not what the plan lists
    │   └── ReplayError    a payload that was seen before, or belongs to another round
    ├── FederationError    a round cannot be started, continued or watched
    │   └── RoundBusyError a round is already running
    └── ProvisionError     certificates or kits cannot be made or used

Every error says *what* went wrong with which value (``str(error)``) and what to do about it
(``error.hint``).
"""

from __future__ import annotations

__all__ = [
    "FedSegError",
    "FederationError",
    "PayloadError",
    "PlanError",
    "ProvisionError",
    "ReplayError",
    "RoundBusyError",
    "plain",
]


class FedSegError(Exception):
    """An error with a next step.

    Args:
        detail: what went wrong, quoting the value that is wrong.
        hint: what the reader can do about it.
    """

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.detail} ({self.hint})" if self.hint else self.detail


class PlanError(FedSegError):
    """Raised when a plan file is missing, unreadable, or its parts contradict each other."""


class PayloadError(FedSegError):
    """Raised when a payload is refused before any of its tensors is used."""


class ReplayError(PayloadError):
    """Raised when a payload repeats an earlier one or answers another round."""


class FederationError(FedSegError):
    """Raised when a round cannot be started, continued or watched."""


class RoundBusyError(FederationError):
    """Raised when a round is requested while another one runs."""


class ProvisionError(FedSegError):
    """Raised when kits or certificates cannot be made or used."""


def plain(error: Exception) -> str:
    """An error for a reader at another hospital: no paths."""
    return f"its disk: {error.strerror}" if isinstance(error, OSError) else str(error)
