"""The running site of this process: built once by the server, found by every route and task."""

from __future__ import annotations

import colorsys
import csv
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fed_backend.methods.fedsm import segmentation_part
from fed_backend.plan import LabelSchema, ModelSpec, Plan, TrainingSpec, load_plan
from monailabel_app import __version__
from monailabel_app.auth import Authenticator
from monailabel_app.errors import SiteError, Unavailable
from monailabel_app.federation.halves import half_of, prepare
from monailabel_app.imaging.files import IMAGE_SUFFIXES
from monailabel_app.labels import chosen_labels, read_codes
from monailabel_app.models.base import Segmenter
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.settings import SiteSettings
from monailabel_app.state.context import SiteContext, set_context

if TYPE_CHECKING:
    from monailabel_app.datastore import SiteDatastore
    from monailabel_app.inference.service import Inference
    from monailabel_app.interactive.desk import SessionDesk
    from monailabel_app.sessions import SiteSessions
    from monailabel_app.state.site import SiteState

__all__ = ["Site", "current_site", "open_site"]

logger = logging.getLogger(__name__)

DEFAULT_LABELS: LabelSchema = {"tumour": 1}
DEFAULT_MODELS = ("unet", "sam")


@dataclass
class Site:
    """Everything that serves.

    Attributes:
        settings: what the site was started with.
        context: records, plan, models and learner, as the routes of learning and federation see them.
        datastore: the images.
        inference: the models that answer.
        authenticator: who may call.
        sessions: images sent for one inference.
        interactive: sessions of annotators who prompt a model.
        incoming: folder for uploads while they are checked.
    """

    settings: SiteSettings
    context: SiteContext
    datastore: SiteDatastore
    inference: Inference
    authenticator: Authenticator
    sessions: SiteSessions
    interactive: SessionDesk
    incoming: Path
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The site's name in a federation."""
        return self.context.site_name

    @property
    def labels(self) -> LabelSchema:
        """Label name -> voxel value."""
        return self.context.labels

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models served."""
        return self.inference.models

    @property
    def colors(self) -> dict[str, list[int]]:
        """Label name -> [r, g, b], the same at every site with the same values."""
        return {name: _color(value) for name, value in self.labels.items()}

    def open_cases(self) -> list[str]:
        """Cases without a correction, by name; those held out for testing come last."""
        state = self.context.state
        corrected = {correction.case for correction in state.corrections.list()}
        parts = state.splits.all()
        cases = [case for case in sorted(self.datastore.list_images()) if case not in corrected]
        return sorted(cases, key=lambda case: parts.get(case) == "holdout")

    def close(self) -> None:
        """Stop the learner; the state is closed by whoever opened it."""
        global _current
        _current = None
        set_context(None)
        self.interrupt()
        self.interactive.stop()

    def interrupt(self) -> None:
        """Let every request that waits for the courier or the learner go; stops the learner."""
        self.context.desk.close()
        self.context.learner.stop()


_current: Site | None = None


def current_site() -> Site:
    """The site that runs in this process.

    Raises:
        Unavailable: none does (yet).
    """
    if _current is None:
        raise Unavailable("no site is running in this process", "start one with `fedseg site start`")
    return _current


def open_site(settings: SiteSettings, state: SiteState) -> Site:
    """Build the site; MONAI Label's environment must be set (see :mod:`.settings`).

    Args:
        settings: what to serve.
        state: the site's state, owned by this process; the caller closes it after the site.

    Raises:
        FedSegError: whatever is wrong with plan, models, split, users or state, before it serves.
    """
    global _current
    from monailabel_app.datastore import SiteDatastore
    from monailabel_app.federation.rounds import RoundDesk
    from monailabel_app.federation.routed import RoutedSegmenter
    from monailabel_app.inference.service import Inference
    from monailabel_app.interactive.setup import build_desk
    from monailabel_app.learning.learner import Learner
    from monailabel_app.learning.setup import LearnerSetup
    from monailabel_app.sessions import SiteSessions

    plan = load_plan(settings.plan) if settings.plan else None
    labels = dict(plan.labels if plan else settings.labels or DEFAULT_LABELS)
    chosen_labels(settings.annotates, labels)  # a name that the schema lacks is told now, not at a submission
    codes = read_codes(settings.codes, labels) if settings.codes else {}
    authenticator = Authenticator(settings.users, settings.token_seconds)
    segmenters = _segmenters(settings, plan, labels)
    state.check_labels(labels)
    for name, segmenter in segmenters.items():
        state.versions(name).ensure_base(segmenter.adapter(), segmenter.base_sha256, __version__)
    state.settings.set("labels", labels)  # after the models had their say: an older state folder may be of others
    if settings.split is not None:
        state.splits.import_split(*read_split(settings.split, settings.name))
    incoming = state.folder / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    setup = LearnerSetup(
        site_name=settings.name,
        studies=settings.studies.resolve(),
        specs={name: segmenter.spec for name, segmenter in segmenters.items()},
        labels=labels,
        training=plan.training if plan else TrainingSpec(),
        plan=plan,
        checkpoint=settings.checkpoint.resolve() if settings.checkpoint else None,
        threads=settings.threads,
    )
    context = SiteContext(
        site_name=settings.name,
        state=state,
        studies=setup.studies,
        plan=plan,
        specs=setup.specs,
        labels=labels,
        learner=Learner(state, setup),
        desk=RoundDesk(state, plan, settings.name),
        training=setup.training,
        checkpoint=setup.checkpoint,
    )
    # Assigned as images appear, so that the site can name the cases kept for validation.
    datastore = SiteDatastore(settings.studies, state.folder / "datastore", IMAGE_SUFFIXES, state.splits.assign)
    site = Site(
        settings=settings,
        context=context,
        datastore=datastore,
        inference=Inference({n: RoutedSegmenter(one) for n, one in segmenters.items()}, state.versions),
        authenticator=authenticator,
        sessions=SiteSessions(state.folder / "sessions"),
        interactive=build_desk(segmenters, state, datastore.path_of, labels, settings.features_limit, settings.device),
        incoming=incoming,
        codes=codes,
    )
    set_context(context)
    _current = site
    return site


def read_split(path: Path, site: str) -> tuple[dict[str, str], dict[str, str]]:
    """Case -> part, and case -> patient, from a CSV with the columns ``case`` and ``part`` or ``patient``, or both.

    Empty fields say nothing; rows of other sites are left out where there is a column ``site``.

    Raises:
        SiteError: unreadable, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SiteError(f"split file {path.name!r} cannot be read: {error}", "check --split") from None
    if rows and not ("case" in rows[0] and {"part", "patient"} & rows[0].keys()):
        raise SiteError(
            f"split file {path.name!r} has the columns {', '.join(map(str, rows[0]))}",
            "it needs case and part (or patient), and site where it names several",
        )
    here = [row for row in rows if (row.get("site") or site) == site]
    parts, patients = ({row["case"]: row[key] for row in here if row.get(key)} for key in ("part", "patient"))
    return parts, patients


def _segmenters(settings: SiteSettings, plan: Plan | None, labels: LabelSchema) -> dict[str, Segmenter]:
    """Build the models to serve; one that was not asked for by name may be unavailable."""
    names = list(settings.models or DEFAULT_MODELS)
    if plan is not None and plan.model.name in names:
        names.remove(plan.model.name)
    if plan is not None:
        names.insert(0, plan.model.name)
    built: dict[str, Segmenter] = {}
    for name in dict.fromkeys(names):
        ours = plan is not None and plan.model.name == name
        spec: ModelSpec = plan.model if plan is not None and ours else default_spec(name)
        try:
            built[name] = build_segmenter(spec, labels, checkpoint=settings.checkpoint)
        except Unavailable as error:
            if ours or name in settings.models:
                raise
            logger.warning("model %s is not served: %s", name, error)
    if plan is not None:
        _check_plan(plan, built[plan.model.name], settings.name)
        prepare(built[plan.model.name], plan)
    return built


def _check_plan(plan: Plan, segmenter: Segmenter, site: str) -> None:
    if plan.base_sha256 != segmenter.base_sha256:
        raise SiteError(
            f"the plan is for base {plan.base_sha256[:12]}…, this site has {segmenter.base_sha256[:12]}…",
            "use the checkpoint that the plan was made with, and the same version of fedseg",
        )
    shapes = segmenter.adapter_shapes()
    for method in plan.methods:
        under = plan.under(method)
        half_of(under, site)  # a method that cannot run here should not be found out in a round
        listed = segmentation_part(under.adapter).items()
        if wrong := [name for name, shape in listed if tuple(shapes.get(name, ())) != shape]:
            raise SiteError(
                f"the plan lists tensors that this model does not have: {', '.join(wrong[:3])}",
                "make a new plan with `fedseg plan create`",
            )


def _color(value: int) -> list[int]:
    """A colour far from its neighbours': hues stepped by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + (value - 1) * 0.618034) % 1.0, 0.75, 0.95)
    return [round(255 * channel) for channel in (red, green, blue)]
