"""A training of the embedded base that can be stopped at any moment and gone on with.

One safetensors file holds the weights, both moments of every weight, and as text the step and the
state of the random generator; going on gives the same weights as never having stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from monailabel_app.errors import StateError

__all__ = ["Saved", "load_training", "partial_file", "restore_moments", "save_tensors", "save_training"]

_KEY = "training"


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes:
        origin: what was asked for: seed, sources, and the like; a file of another training is refused.
        losses: of the steps done.
        generator: state of the random generator after them.
        size: side of the pictures in pixels.
        weights: tensors of the network.
        moments: "<number of the optimiser>.<number of the parameter>.<name>" -> tensor.
    """

    origin: Mapping[str, Any]
    losses: list[float]
    generator: Mapping[str, Any]
    size: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def partial_file(out: Path) -> Path:
    """Where an unfinished training towards ``out`` is kept."""
    return out.with_name(f"{out.name}.partial")


def save_tensors(tensors: Mapping[str, Tensor], out: Path, metadata: Mapping[str, str]) -> None:
    """Write safetensors through a temporary file, so that ``out`` is never half written."""
    temporary = out.with_name(f".{out.name}.tmp")
    save_file(dict(tensors), temporary, metadata=dict(metadata))
    temporary.chmod(0o644)
    os.replace(temporary, out)


def save_training(
    path: Path,
    network: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    *,
    origin: Mapping[str, Any],
    losses: list[float],
    rng: np.random.Generator,
    size: int,
) -> None:
    """Write everything that going on needs."""
    tensors = {f"weights.{name}": value.contiguous().cpu() for name, value in network.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"moments.{number}.{index}.{name}"] = torch.as_tensor(value).contiguous().cpu()
    about = {"origin": origin, "losses": losses, "generator": rng.bit_generator.state, "size": size}
    save_tensors(tensors, path, {_KEY: json.dumps(about)})


def load_training(path: Path, origin: Mapping[str, Any]) -> Saved | None:
    """Read an unfinished training; ``None`` where there is none.

    Raises:
        StateError: the file is damaged, or belongs to another training.
    """
    if not path.is_file():
        return None
    hint = f"remove {path.name} to start afresh"
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path.name} cannot be read: {type(error).__name__}", hint) from None
    if about["origin"] != dict(origin):
        raise StateError(f"{path.name} is of another training: {about['origin']}, not {dict(origin)}", hint)
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "moments": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    return Saved(about["origin"], about["losses"], about["generator"], about["size"], **parts)


def restore_moments(optimisers: list[torch.optim.Optimizer], moments: Mapping[str, Tensor]) -> None:
    """Give optimisers the moments that they were saved with."""
    for number, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            owner, index, name = key.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
