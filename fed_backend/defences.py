"""What a plan may ask for beyond a method: robust aggregation at the hub, noise at the sites, secure sums.

Value objects only; the arithmetic is in :mod:`fed_backend.methods.robust`,
:mod:`fed_backend.privacy` and :mod:`fed_backend.secure`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PrivacySpec", "RobustSpec", "Rule", "SecureSpec"]

Rule = Literal["mean", "trimmed_mean", "median", "krum", "multi_krum"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RobustSpec(_Frozen):
    """How the hub bears hostile updates. Every site counts once: a site itself says how many examples it has.

    Attributes:
        rule: what stands for the mean. ``trimmed_mean`` and ``median`` work coordinate by coordinate
            (Yin et al. 2018, arXiv 1803.01498); ``krum`` takes the update that lies closest to its
            neighbours, ``multi_krum`` averages the ``n - hostile - 2`` closest ones (Blanchard et al.
            2017, arXiv 1703.02757).
        hostile: f, how many hostile updates in one round are borne.
        clip: L2 norm to which the change from the round's start is scaled down (Sun et al. 2019,
            arXiv 1911.07963); nothing is scaled where it is not given.
        max_change: L2 norm of the change above which an update is refused.
    """

    rule: Rule = "mean"
    hostile: int = Field(default=0, ge=0, le=100)
    clip: float | None = Field(default=None, gt=0)
    max_change: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> RobustSpec:
        if self.rule == "mean":
            if self.clip is None and self.max_change is None:
                raise ValueError("the rule 'mean' without clip and max_change bears nothing: choose another rule")
            if self.hostile:
                raise ValueError("the rule 'mean' bears no number of hostile sites: leave hostile out")
        elif not self.hostile:
            raise ValueError(f"the rule {self.rule!r} needs hostile, the number of sites that it bears")
        if self.clip is not None and self.max_change is not None and self.clip >= self.max_change:
            raise ValueError(f"clip ({self.clip:g}) must be below max_change ({self.max_change:g})")
        return self

    @property
    def fewest(self) -> int:
        """Updates that the rule needs in a round: 2f + 1, for Krum 2f + 3."""
        return {"mean": 1, "krum": 2 * self.hostile + 3, "multi_krum": 2 * self.hostile + 3}.get(
            self.rule, 2 * self.hostile + 1
        )

    @property
    def parts(self) -> frozenset[str]:
        """What is asked for: the rule's name unless it is the mean, ``clip``, ``max_change``."""
        named = {"clip": self.clip is not None, "max_change": self.max_change is not None}
        return frozenset({self.rule} - {"mean"} | {name for name, asked in named.items() if asked})

    @property
    def needs_start(self) -> bool:
        """Whether the hub must know the tensors that all sites start from."""
        return self.clip is not None or self.max_change is not None

    def __str__(self) -> str:
        said = [] if self.rule == "mean" else [f"{self.rule} that bears {self.hostile} hostile site(s)"]
        if self.clip is not None:
            said.append(f"changes scaled down to norm {self.clip:g}")
        if self.max_change is not None:
            said.append(f"changes above norm {self.max_change:g} refused")
        return ", ".join([*said, "every site counts once"])


class PrivacySpec(_Frozen):
    """Differential privacy of updates: each site clips its change and adds noise before anything leaves it.

    The Gaussian mechanism. Whatever the site's data are, its change lies in a ball of radius ``clip``, so
    two data sets, whether they differ in one patient or in all, are at most ``2 clip`` apart: the
    noise has the standard deviation ``noise * 2 * clip`` in every coordinate.

    Attributes:
        clip: L2 norm C to which a change is scaled down.
        noise: noise multiplier z, relative to the sensitivity 2 C.
        delta: of (epsilon, delta)-differential privacy.
        epsilon: a site sends no update that would bring its epsilon under this plan above this.
    """

    clip: float = Field(gt=0, le=1e6)
    noise: float = Field(gt=0, le=1e6)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    epsilon: float | None = Field(default=None, gt=0)

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in each coordinate."""
        return 2 * self.clip * self.noise

    def __str__(self) -> str:
        limit = "" if self.epsilon is None else f", at most epsilon {self.epsilon:g}"
        return (
            f"changes clipped to norm {self.clip:g} at the site, noise of deviation {self.deviation:g} "
            f"(multiplier {self.noise:g}), delta {self.delta:g}{limit}"
        )


class SecureSpec(_Frozen):
    """Secure aggregation: the hub sees the sum of the updates of a round, and no single one.

    Attributes:
        fewest: updates that a sum has at least; a site takes no part in one of fewer. In a sum of two each
            of the two would know the other's update.
    """

    fewest: int = Field(default=3, ge=3, le=1000)

    def __str__(self) -> str:
        return f"the hub sees sums of {self.fewest} updates or more, and no single one"
