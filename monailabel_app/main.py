"""The MONAI Label app: what ``monailabel`` loads from this folder.

MONAI Label executes this file by path and looks for exactly one direct subclass of MONAILabelApp.
It may do so in other processes too, so building the app opens nothing and starts nothing: it
describes what the running site (:mod:`monailabel_app.app_context`) offers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monailabel.interfaces.app import MONAILabelApp

from monailabel_app import __version__
from monailabel_app.app_context import current_site
from monailabel_app.datastore import SiteDatastore
from monailabel_app.sessions import SiteSessions
from monailabel_app.strategies import STRATEGIES
from monailabel_app.tasks import LearnTask, SegmentTask

__all__ = ["FedSegApp"]


class FedSegApp(MONAILabelApp):  # type: ignore[misc]
    """Describes the site to MONAI Label's clients.

    Raises:
        Unavailable: no site is running in this process.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._site = current_site()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"SlicerFedSeg - {self._site.name}",
            description="Segmentation that learns from corrections at this site and federates what was learned",
            version=__version__,
            labels=dict(sorted(self._site.labels.items(), key=lambda item: item[1])),
        )

    def init_datastore(self) -> SiteDatastore:
        return self._site.datastore

    def init_infers(self) -> dict[str, SegmentTask]:
        return {name: SegmentTask(self._site, name) for name in self._site.models}

    def init_trainers(self) -> dict[str, LearnTask]:
        return {name: LearnTask(self._site, name) for name in self._site.models}

    def init_strategies(self) -> dict[str, Any]:
        return {name: strategy(self._site) for name, strategy in STRATEGIES.items()}

    def init_scoring_methods(self) -> dict[str, Any]:
        return {}

    def init_batch_infer(self) -> Callable[..., None]:
        return _no_batch

    def _load_sessions(self, load: bool = False) -> SiteSessions:
        return self._site.sessions


def _no_batch(*_: Any, **__: Any) -> None:
    """Batch inference would run in a second process beside the site; see routes/closed.py."""
