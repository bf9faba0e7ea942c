"""What a site says about itself and its cases, and what is asked of it, as typed values.

The REST interface is MONAI Label's; a FedSeg site adds the object ``fedseg`` to ``GET /info/``. Everything is parsed
here, strictly: a reply that lacks what it must have raises ProtocolError and never reaches the scene.

Voxel positions are (i, j, k) of the image as stored, zero-based.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .codes import Codes, codes
from .errors import ProtocolError
from .fields import Fields, parse_object
from .language import tr as _

if TYPE_CHECKING:
    from .voxels import Voxels

Ijk = tuple[int, int, int]
Rgb = tuple[int, int, int]

_PALETTE: tuple[Rgb, ...] = (
    (220, 60, 50),
    (60, 130, 220),
    (70, 170, 80),
    (235, 170, 40),
    (150, 90, 200),
    (60, 185, 190),
)
_DEFAULT_STRATEGY = "random"


@dataclass(frozen=True)
class Label:
    """One structure of the schema.

    Attributes:
        name: as in the site's masks.
        value: of its voxels, > 0.
        color: 0..255 each.
        codes: what it is, in DICOM's words; None where the site does not say.
    """

    name: str
    value: int
    color: Rgb
    codes: Codes | None = None


@dataclass(frozen=True)
class LabelSchema:
    """The structures that masks of this site may hold, by name; voxel value 0 is background."""

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        values = [label.value for label in self.labels]
        names = [label.name for label in self.labels]
        if len(set(values)) != len(values) or len(set(names)) != len(names):
            raise ProtocolError(
                _("The site's labels repeat a name or a value: {values}.").format(
                    values=dict(zip(names, values, strict=True))
                )
            )
        if any(value < 1 or value > 65535 for value in values):
            raise ProtocolError(_("The site's label values must lie in 1..65535, not {values}.").format(values=values))

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the schema's order."""
        return tuple(label.name for label in self.labels)

    def values(self) -> dict[str, int]:
        """Voxel value of every name."""
        return {label.name: label.value for label in self.labels}

    def find(self, name: str) -> Label | None:
        """The label of that name, or None."""
        return next((label for label in self.labels if label.name == name), None)


@dataclass(frozen=True)
class Model:
    """A model that the site serves.

    Attributes:
        name: as in the site's addresses.
        automatic: segments without being shown anything.
        prompts: understands points (and on a FedSeg site a box).
        champion: id of the version that serves, None on stock servers.
    """

    name: str
    automatic: bool
    prompts: bool
    champion: str | None = None
    kind: str = "segmentation"


@dataclass(frozen=True)
class SiteInfo:
    """Reply of ``GET /info/``. ``fedseg`` is the site software's version, None on a stock MONAI Label server."""

    name: str
    version: str
    fedseg: str | None
    site: str
    role: str | None
    schema: LabelSchema
    models: tuple[Model, ...]
    strategies: tuple[str, ...]
    federation: bool

    @property
    def stock(self) -> bool:
        """True for a MONAI Label server without FedSeg's additions."""
        return self.fedseg is None

    def model(self, name: str) -> Model | None:
        """The model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)


def site_info(body: bytes) -> SiteInfo:
    """Parse the reply of ``GET /info/``.

    Raises:
        ProtocolError: not a MONAI Label server's reply.
    """
    fields = Fields(parse_object(body, "GET /info/"), _("the server's description"))
    if not fields.has("models"):
        raise ProtocolError(_("That server is not a MONAI Label server."), _("Check the address and the port."))
    extra = fields.child("fedseg") if fields.has("fedseg") else None
    return SiteInfo(
        name=fields.text("name", "MONAI Label"),
        version=fields.text("version", ""),
        fedseg=extra.text("version", "") if extra else None,
        site=extra.text("site", "") if extra else "",
        role=extra.maybe_text("role") if extra else None,
        schema=_schema(fields, extra),
        models=_models(fields, extra),
        strategies=tuple(fields.child("strategies").keys()) or (_DEFAULT_STRATEGY,),
        federation=extra.flag("federation") if extra else False,
    )


def _schema(fields: Fields, extra: Fields | None) -> LabelSchema:
    source = extra if extra is not None and extra.has("labels") else fields
    labels = source.raw("labels")
    if isinstance(labels, list):
        labels = {str(name): position for position, name in enumerate((n for n in labels if n != "background"), 1)}
    named = Fields({} if labels is None else labels, _("the site's labels"))
    values = {name: named.whole(name) for name in named.keys() if name != "background"}  # noqa: SIM118  not a dict
    colors = extra.child("colors") if extra else Fields({}, _("the colours"))
    ordered = sorted(((value, name) for name, value in values.items() if value != 0))
    coded = extra.child("codes") if extra else Fields({}, _("the codes"))
    return LabelSchema(
        tuple(
            Label(name, value, _color(colors, name, n), codes(coded.child(name)) if coded.has(name) else None)
            for n, (value, name) in enumerate(ordered)
        )
    )


def _color(colors: Fields, name: str, position: int) -> Rgb:
    rgb = colors.items(name)
    if len(rgb) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in rgb):
        return (int(str(rgb[0])), int(str(rgb[1])), int(str(rgb[2])))
    return _PALETTE[position % len(_PALETTE)]


def _models(fields: Fields, extra: Fields | None) -> tuple[Model, ...]:
    stock = fields.child("models")
    ours = extra.child("models") if extra else Fields({}, _("the site's models"))
    models = []
    for name in dict.fromkeys([*stock.keys(), *ours.keys()]):
        kind = stock.child(name).text("type", "segmentation")
        more = ours.child(name)
        interactive = kind in ("deepgrow", "deepedit", "annotation") or (extra is not None and name == "sam")
        prompts = more.maybe_flag("prompts")
        models.append(
            Model(
                name=name,
                automatic=kind != "deepgrow",
                prompts=interactive if prompts is None else prompts,
                champion=more.maybe_text("champion"),
                kind=kind,
            )
        )
    return tuple(models)


@dataclass(frozen=True)
class NextCase:
    """Reply of ``POST /activelearning/{strategy}``: the case to look at next and, if told, why."""

    id: str
    reason: str


def next_case(body: bytes) -> NextCase | None:
    """Parse the next case; None when the site has no case left."""
    values = parse_object(body, _("the next case"))
    if not values:
        return None
    fields = Fields(values, _("the next case"))
    return NextCase(fields.text("id"), fields.text("reason", ""))


@dataclass(frozen=True)
class Prompts:
    """What the person pointed at, for one structure.

    Attributes:
        foreground: voxels inside the structure.
        background: voxels outside it.
        box: (i0, j0, k0, i1, j1, k1), both corners inside the box; None without a box.
    """

    foreground: tuple[Ijk, ...] = ()
    background: tuple[Ijk, ...] = ()
    box: tuple[int, int, int, int, int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.foreground or self.background or self.box)

    def as_params(self) -> dict[str, object]:
        """Keys of the infer request's ``params``."""
        params: dict[str, object] = {
            "foreground": [list(p) for p in self.foreground],
            "background": [list(p) for p in self.background],
        }
        if self.box is not None:
            params["box"] = list(self.box)
        return params


@dataclass(frozen=True)
class Mask:
    """Reply of ``POST /infer/{model}``.

    Attributes:
        content: the mask file.
        suffix: its kind (".nrrd", ".nii.gz").
        label_names: voxel value of every structure in it.
        model, version: what answered; version None on stock servers.
        seconds: time per step at the site, "total" if told.
        voxels: the schema's label values, where the worker could read them.
    """

    content: bytes
    suffix: str
    label_names: Mapping[str, int]
    model: str
    version: str | None
    seconds: Mapping[str, float]
    voxels: Voxels | None = field(default=None, compare=False, repr=False)


def mask(params: bytes, content: bytes, suffix: str, model: str, schema: LabelSchema) -> Mask:
    """Build a Mask from the two parts of an infer reply."""
    fields = Fields(parse_object(params, _("the segmentation")), _("the segmentation"))
    names = fields.child("label_names")
    found = {name: names.whole(name) for name in names.keys() if name != "background"}  # noqa: SIM118  not a dict
    times = fields.child("seconds")
    return Mask(
        content=content,
        suffix=suffix,
        label_names={name: value for name, value in found.items() if value} or schema.values(),
        model=fields.text("model", model),
        version=fields.maybe_text("version"),
        seconds={key: times.number(key) for key in times.keys()},  # noqa: SIM118  not a dict
    )


@dataclass(frozen=True)
class Receipt:
    """Reply of ``PUT /datastore/label``: what became of the submitted mask.

    ``part`` says what the site uses the case for; ``dice_shown`` compares the mask shown with the one submitted (0..1).
    """

    case: str
    correction: str | None
    part: Literal["train", "validation", "holdout"] | None
    dice_shown: float | None


def receipt(body: bytes, case: str) -> Receipt:
    """Parse the reply to a submitted mask."""
    fields = Fields(parse_object(body, _("the submitted mask")), _("the receipt"))
    part = fields.maybe_text("part")
    if part is not None and part not in ("train", "validation", "holdout"):
        raise ProtocolError(
            _("'part' of the receipt should be train, validation or holdout, not '{part}'.").format(part=part)
        )
    return Receipt(
        case=fields.text("image", case),
        correction=str(fields.raw("correction")) if fields.has("correction") else None,
        part=part,  # type: ignore[arg-type]  # checked above
        dice_shown=fields.maybe_number("dice_shown"),
    )
