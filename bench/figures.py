"""What the results of several benchmarks have in common: where they were measured, and digits that mean something."""

from __future__ import annotations

import os
import platform
from typing import Any

__all__ = ["machine", "rounded"]


def machine() -> dict[str, Any]:
    """Where figures are measured."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def rounded(value: Any) -> Any:
    """A copy of figures, nested in any way, with four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
