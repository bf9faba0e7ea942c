"""Connecting to a site: its address, the test, the sign-in."""

from typing import ClassVar

from FedSegLib import words
from FedSegLib.address import parse_address
from FedSegLib.language import tr as _
from FedSegLib.state import CONNECTED, Action, Phase

from .section import Section

_DEFAULT_SERVER = "http://127.0.0.1:8000"


class Site(Section):
    """The section 'Site'."""

    FORM = "Site"
    ACTIONS: ClassVar = {
        Action.CONNECT: ["connectButton"],
        Action.DISCONNECT: ["disconnectButton"],
        Action.SIGN_IN: ["signInButton"],
    }

    def setup(self):
        """Offer the servers of earlier sessions and connect the buttons."""
        ui, connection = self.ui, self.controller.connection
        for server in self.controller.settings.servers or [_DEFAULT_SERVER]:
            ui.serverBox.addItem(server)
        self.on_click(ui.testButton, lambda: connection.test(ui.serverBox.currentText))
        self.on_click(ui.connectButton, lambda: connection.connect(ui.serverBox.currentText))
        self.on_click(ui.disconnectButton, self.controller.disconnect)
        self.on_click(ui.signInButton, self._sign_in)
        self._setup_local()
        ui.passwordEdit.connect("returnPressed()", self._sign_in)

    def _setup_local(self):
        ui, settings, hosting = self.ui, self.controller.settings, self.controller.hosting
        ui.pythonEdit.currentPath = settings.text("local_python")
        ui.studiesEdit.currentPath = settings.text("local_studies")
        ui.labelsEdit.text = settings.text("local_labels")
        ui.pythonEdit.connect("currentPathChanged(QString)", lambda path: settings.set_text("local_python", path))
        ui.studiesEdit.connect("currentPathChanged(QString)", lambda path: settings.set_text("local_studies", path))
        ui.labelsEdit.connect("textChanged(QString)", lambda text: settings.set_text("local_labels", text))
        self.on_click(ui.checkButton, hosting.check)
        self.on_click(ui.startSiteButton, hosting.start)
        self.on_click(ui.stopSiteButton, self._stop_local)

    def _stop_local(self):
        if self.controller.view.phase is not Phase.OFFLINE:
            self.controller.disconnect()
        self.controller.hosting.stop()

    def _sign_in(self):
        self.controller.connection.sign_in(self.ui.userEdit.text, self.ui.passwordEdit.text)
        self.ui.passwordEdit.clear()

    def draw(self, view):
        """Draw the whole View."""
        ui = self.ui
        offline = view.phase is Phase.OFFLINE
        ui.serverBox.enabled = offline
        ui.testButton.enabled = not view.testing
        ui.testButton.text = _("Testing …") if view.testing else _("Test connection")
        hosted = self.controller.hosting.running
        ui.localSection.visible = offline or hosted
        ui.startSiteButton.enabled = offline
        ui.checkButton.enabled = offline and not view.testing
        ui.stopSiteButton.enabled = hosted
        joining = offline or view.phase is Phase.CONNECTING
        ui.connectButton.visible = joining
        ui.disconnectButton.visible = not joining
        ui.signInPanel.visible = view.phase is Phase.SIGN_IN
        ui.siteLabel.text = _site_text(view)


def _site_text(view):
    """One or two lines about the site."""
    if view.phase is Phase.SIGN_IN:
        return words.sign_in_words(parse_address(view.address))
    if view.site is None or view.phase not in CONNECTED:
        return _("Not connected.")
    text = words.site_words(parse_address(view.address), view.site)
    return (
        _("{text}\nThe site cannot be watched at the moment: {link_lost}").format(text=text, link_lost=view.link_lost)
        if view.link_lost
        else text
    )
