"""The page: a bar with the site, the work list, a bar of tools, three slice views."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from FedSegLib import __version__
from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

from .seat import Seat

ICONS = Path(__file__).resolve().parents[2] / "Resources" / "Icons"

_STYLE = """
html { overflow: hidden; }
.case-row.open { background: rgba(80, 140, 220, 0.22); }
.case-row { cursor: pointer; border-radius: 6px; }
.case-row:hover { background: rgba(255, 255, 255, 0.06); }
.quiet { opacity: 0.7; font-size: 12px; }
.tools .v-btn { margin-right: 2px; }
.v-btn { text-transform: none; letter-spacing: 0; }
.pre { white-space: pre-line; }
"""


def icon(name: str) -> str:
    """One of our icons as an address, drawn in the dark theme's text colour."""
    drawing = (ICONS / f"{name}.svg").read_text(encoding="utf-8").replace("currentColor", "#e8e8e8")
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"


class Page:
    """Builds the page once.

    Args:
        server: trame's. seat: what the buttons do.
    """

    def __init__(self, server: Any, seat: Seat) -> None:
        self._seat = seat
        server.state.trame__title = "FedSeg"
        server.state.trame__favicon = icon("FedSeg")
        with VAppLayout(server) as layout:
            layout.root.theme = "dark"
            client.Style(_STYLE)
            self._site_bar()
            self._work_list()
            self._consent()
            self._sign_in()
            with v.VMain(), html.Div(classes="d-flex flex-column", style="height: 100%"):
                self._tools()
                with html.Div(style="flex: 1; min-height: 0; position: relative;"):
                    seat.views.place(layout)
            self._foot()

    def _site_bar(self) -> None:
        seat = self._seat
        with v.VAppBar(density="compact", flat=True, border="b"):
            html.Img(src=icon("FedSeg"), style="height: 28px; margin: 0 10px 0 14px")
            html.Span("FedSeg", classes="text-subtitle-1 font-weight-medium mr-4")
            v.VCombobox(
                v_model=("address",),
                items=("servers",),
                label="Address of the site",
                density="compact",
                hide_details=True,
                variant="outlined",
                single_line=True,
                disabled=("phase !== 'offline'",),
                style="max-width: 320px",
                id="address",
                keydown_enter=seat.connect,
            )
            v.VBtn(
                "Connect",
                v_if="phase === 'offline' || phase === 'connecting'",
                click=seat.connect,
                disabled=("why.connect !== ''",),
                classes="ml-2",
                variant="flat",
                color="primary",
                id="connect",
            )
            v.VBtn(
                "Disconnect",
                v_else=True,
                click=seat.disconnect,
                classes="ml-2",
                variant="tonal",
                id="disconnect",
            )
            html.Span("{{ site_line }}", classes="quiet ml-4", id="site-line")
            v.VSpacer()
            html.Span(f"version {__version__}", classes="quiet mr-2")
            self._settings()

    def _settings(self) -> None:
        seat = self._seat
        with v.VBtn(icon="mdi-cog", size="small", classes="mr-2", id="settings", aria_label="Settings"):
            pass
        with v.VMenu(activator="#settings", close_on_content_click=False), v.VCard(min_width=340), v.VCardText():
            v.VTextField(
                v_model=("author",),
                label="Your name, sent with a mask",
                density="compact",
                variant="outlined",
                hide_details=True,
                id="author",
            )
            v.VCheckbox(
                v_model=("effort",),
                label="Send time and clicks with a mask",
                density="compact",
                hide_details=True,
                classes="my-2",
            )
            v.VBtn(
                "Withdraw the consent to send",
                click=seat.controller.connection.withdraw_consent,
                disabled=("!connected || !consented",),
                size="small",
                variant="tonal",
                id="withdraw",
            )

    def _work_list(self) -> None:
        seat = self._seat
        with (
            v.VNavigationDrawer(permanent=True, width=300),
            html.Div(classes="pa-3 d-flex flex-column", style="gap: 10px"),
        ):
            self._messages()
            with html.Div(classes="d-flex", style="gap: 6px"):
                self._button(
                    "Next case", seat.next_case, "next", "mdi-skip-next", color="primary", variant="flat", grow=True
                )
                self._button("Skip", seat.skip, "skip", "mdi-debug-step-over", variant="tonal")
            html.Div("{{ case_line }}", v_if="case_line", classes="pre text-body-2", id="case-line")
            with html.Div(classes="d-flex align-center", style="gap: 6px"):
                self._button("Submit", seat.submit, "submit", "mdi-send", color="success", variant="flat", grow=True)
                v.VCheckbox(
                    v_model=("nothing",),
                    label="Nothing to mark",
                    density="compact",
                    hide_details=True,
                    disabled=("why.submit !== ''",),
                    classes="flex-grow-0",
                    id="nothing",
                )
            html.Div("{{ waiting }}", v_if="waiting", classes="pre quiet", id="waiting")
            with (
                html.Div(v_if="cases.length", id="cases"),
                html.Div(
                    v_for="row in cases",
                    key="row.id",
                    classes=("`case-row d-flex align-center pa-1 ${row.open ? 'open' : ''}`",),
                    title=("row.words",),
                    click=(seat.controller.casework.open_case, "[row.id]"),
                ),
            ):
                html.Img(
                    v_if="pictures[row.id]",
                    src=("pictures[row.id]",),
                    style="width: 38px; height: 38px; border-radius: 4px; object-fit: cover; background: black",
                )
                with html.Div(classes="ml-2 flex-grow-1", style="min-width: 0"):
                    html.Div("{{ row.id }}", classes="text-body-2 text-truncate")
                    html.Div("{{ row.state }}", classes="quiet")
                html.Span("{{ row.dice }}", classes="quiet")
            html.Div("{{ learning }}", v_if="learning", classes="quiet", id="learning")

    def _messages(self) -> None:
        with v.VAlert(
            v_if="notice", type=("notice.tone",), density="compact", variant="tonal", border="start", id="notice"
        ):
            html.Div("{{ notice.text }}", classes="text-body-2")
            html.Div("{{ notice.hint }}", v_if="notice.hint", classes="text-body-2 mt-1 font-italic")
        with html.Div(v_if="busy", id="busy"):
            html.Div("{{ busy.text }}", classes="text-body-2 mb-1")
            with html.Div(classes="d-flex align-center", style="gap: 8px"):
                v.VProgressLinear(indeterminate=("!busy.known",), model_value=("busy.percent",), color="primary")
                v.VBtn("Cancel", click=self._seat.controller.cancel, size="small", variant="text", id="cancel")

    def _button(self, text: str, click: Any, name: str, symbol: str, *, grow: bool = False, **look: Any) -> None:
        """A button of an action; its tooltip says why it cannot be pressed."""
        with html.Div(title=(f"why.{name}",), classes="flex-grow-1" if grow else ""):
            v.VBtn(
                text,
                click=click,
                disabled=(f"why.{name} !== ''",),
                prepend_icon=symbol,
                id=name,
                block=grow,
                **look,
            )

    def _tools(self) -> None:
        seat = self._seat
        with html.Div(classes="tools d-flex align-center px-3 py-2", style="gap: 4px; border-bottom: 1px solid #333"):
            v.VSelect(
                model_value=("structure",),
                items=("structures",),
                item_title="name",
                item_value="name",
                label="Structure",
                update_modelValue=(seat.choose_structure, "[$event]"),
                disabled=("!case_id",),
                density="compact",
                variant="outlined",
                hide_details=True,
                style="min-width: 150px; max-width: 150px",
                id="structure",
            )
            v.VSelect(
                model_value=("model",),
                items=("models",),
                label="Model",
                update_modelValue=(seat.controller.casework.choose_model, "[$event]"),
                disabled=("!case_id",),
                density="compact",
                variant="outlined",
                hide_details=True,
                style="min-width: 130px; max-width: 130px",
                classes="mx-1",
                id="model",
            )
            self._button("Segment", seat.controller.casework.segment, "segment", "mdi-auto-fix", variant="tonal")
            v.VDivider(vertical=True, classes="mx-2")
            self._tool("include", "Click inside the structure", "why.prompt", (seat.point, "['include']"))
            self._tool("exclude", "Click outside the structure", "why.prompt", (seat.point, "['exclude']"))
            self._tool("box", "Draw a box: click two corners", "why.prompt", (seat.point, "['box']"))
            v.VDivider(vertical=True, classes="mx-2")
            self._tool("paint", "Paint the structure", "why.submit", (seat.paint, "['paint']"), "mdi-brush")
            self._tool("erase", "Erase the structure", "why.submit", (seat.paint, "['erase']"), "mdi-eraser")
            v.VSlider(
                v_model=("brush",),
                min=1,
                max=40,
                step=1,
                density="compact",
                hide_details=True,
                style="min-width: 110px; max-width: 110px",
                disabled=("!case_id",),
                title=("`Brush: ${brush} mm`",),
                id="brush",
            )
            html.Span("{{ brush }} mm", classes="quiet", style="width: 44px")
            v.VDivider(vertical=True, classes="mx-2")
            self._tool("undo", "Undo", "why.undo", seat.undo)
            self._tool("redo", "Do again", "why.redo", seat.redo)
            self._tool(
                "clear", "Start over with the points; the mask stays", "why.prompt", seat.controller.prompting.clear
            )
            v.VDivider(vertical=True, classes="mx-2")
            self._tool(
                "propagate",
                "Carry the structure on to other slices",
                "why.propagate",
                seat.controller.prompting.propagate,
            )
            with html.Div(v_if="propagating", classes="d-flex align-center ml-2", id="propagating"):
                html.Span("{{ propagating }}", classes="quiet mr-1")
                v.VBtn("Stop", click=seat.controller.prompting.stop_propagating, size="small", variant="text")
            v.VProgressCircular(v_if="asking", indeterminate=True, size=18, width=2, classes="ml-2", id="asking")

    def _tool(self, name: str, tip: str, why: str, click: Any, symbol: str = "") -> None:
        """A tool that the mouse holds, or a quick action: an icon with a tooltip."""
        with (
            html.Div(title=(f"{why} || '{tip}'",)),
            v.VBtn(
                icon=True,
                click=click,
                disabled=(f"{why} !== ''",),
                variant=(f"tool === '{name}' ? 'tonal' : 'text'",),
                color=(f"tool === '{name}' ? 'blue-lighten-2' : undefined",),
                size="small",
                rounded="lg",
                id=name,
                aria_label=tip,
            ),
        ):
            if symbol:
                v.VIcon(symbol)
            else:
                html.Img(src=icon(name), style="width: 22px; height: 22px")

    def _consent(self) -> None:
        connection = self._seat.controller.connection
        with (
            v.VDialog(model_value=("consent !== ''",), persistent=True, max_width=560),
            v.VCard(title="Before anything is sent", id="consent"),
        ):
            v.VCardText("{{ consent }}", classes="pre")
            with v.VCardActions():
                v.VSpacer()
                v.VBtn("Do not send", click=connection.decline, id="decline")
                v.VBtn("I agree", click=connection.agree, color="primary", variant="flat", id="agree")

    def _sign_in(self) -> None:
        with (
            v.VDialog(model_value=("phase === 'sign_in'",), persistent=True, max_width=400),
            v.VCard(title="Sign in", id="sign-in-card"),
        ):
            with v.VCardText():
                html.P("{{ site_line }}", classes="mb-4")
                v.VTextField(v_model=("user", ""), label="Name", id="user")
                v.VTextField(v_model=("password", ""), label="Password", type="password", id="password")
            with v.VCardActions():
                v.VBtn("Disconnect", click=self._seat.disconnect)
                v.VSpacer()
                v.VBtn(
                    "Sign in",
                    click=(self._seat.sign_in, "[user, password]"),
                    color="primary",
                    variant="flat",
                    id="sign-in",
                )

    def _foot(self) -> None:
        with v.VFooter(app=True, height=28, classes="px-3 py-0", border="t"):
            html.Span("{{ answer ? `Shown: ${answer}` : '' }}", classes="quiet", id="answer")
            v.VSpacer()
            html.Span(
                "Wheel: slices · right button: zoom · middle button: move",
                v_if="case_id",
                classes="quiet",
            )
