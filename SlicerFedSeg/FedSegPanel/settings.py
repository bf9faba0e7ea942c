"""What the module remembers, and consent to take back."""

from FedSegLib.language import tr as _
from FedSegLib.state import Phase

from .section import Section


class Settings(Section):
    """The section 'Settings'."""

    FORM = "Settings"

    def setup(self):
        """Show what is kept and keep what is changed."""
        ui, settings = self.ui, self.controller.settings
        ui.authorEdit.text = settings.author
        ui.caFileEdit.currentPath = str(settings.ca_file or "")
        ui.authorEdit.connect("textChanged(QString)", lambda text: settings.set_text("author", text))
        ui.caFileEdit.connect("currentPathChanged(QString)", lambda path: settings.set_text("ca_file", path))
        ui.autoBox.checked = settings.segment_on_open
        ui.effortBox.checked = settings.tell_effort
        ui.autoBox.connect("toggled(bool)", lambda on: settings.set_flag("segment_on_open", on))
        ui.effortBox.connect("toggled(bool)", lambda on: settings.set_flag("tell_effort", on))
        self.on_click(ui.withdrawButton, self.controller.connection.withdraw_consent)

    def draw(self, view):
        """Draw the whole View."""
        ui = self.ui
        ui.caFileEdit.enabled = view.phase is Phase.OFFLINE
        ui.consentStateLabel.text = _("given for this server") if view.consented else _("asked before anything is sent")
        ui.withdrawButton.enabled = view.consented
