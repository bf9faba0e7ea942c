"""Partial personalisation after FedBN (Li et al. 2021, arXiv 2102.07623): some tensors stay home.

FedBN keeps the normalisation layers of every site local and averages the rest. The same code keeps
any part local by name pattern, for instance the decoder.
"""

from __future__ import annotations

from fed_backend.errors import PlanError
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.names import matching
from fed_backend.methods.settings import Settings
from fed_backend.plan import Plan

__all__ = ["NORMALISATION", "FedBN"]

NORMALISATION = ("*.adn.N.*", "*norm*", "*.output_upscaling.1.*")
"""Normalisation by name: MONAI's blocks; SAM's transformers; the layer norm of SAM's upscaling,
which only its position tells."""


class FedBN(Averaging):
    """The example-weighted mean of all tensors but those that stay home.

    Settings:
        local: shell patterns of the tensors that stay, with commas between them; every pattern
            must match. Default: :data:`NORMALISATION`.
        lora_average: as in FedAvg.

    Raises:
        PlanError: nothing would stay home (an instance norm without parameters, a misspelt name),
            or nothing would travel.
    """

    name = "fedbn"

    def __init__(self, plan: Plan) -> None:
        settings = Settings(plan, "local", "lora_average")
        patterns = settings.words("local", ",".join(NORMALISATION))
        self._local = matching(plan.adapter, patterns)
        unused = [p for p in patterns if not matching(plan.adapter, [p])] if patterns != NORMALISATION else []
        hint = "name tensors of the plan's adapter in the setting 'local', such as '*.adn.N.*'"
        if unused:
            raise PlanError(f"method 'fedbn' keeps {unused[0]!r} local, which matches no tensor", hint)
        if not self._local:
            raise PlanError("method 'fedbn' would keep no tensor local", hint)
        if self._local == plan.adapter.keys():
            raise PlanError(f"method 'fedbn' would keep every tensor local ({', '.join(patterns)})", hint)
        shapes = {name: shape for name, shape in plan.adapter.items() if name not in self._local}
        super().__init__(shapes, products=settings.products())

    def local_keys(self) -> frozenset[str]:
        """Tensors of the plan that never leave a site."""
        return self._local
