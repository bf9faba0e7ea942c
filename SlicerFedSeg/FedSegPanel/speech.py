"""The panel in the language that Slicer is set to, where there is a catalogue for it."""

import xml.etree.ElementTree as ET
from pathlib import Path

import qt
from FedSegLib import language

_SHOWN = ("text", "toolTip", "placeholderText")


def speak(resource):
    """Take the language of Slicer's settings (Edit > Application Settings > Internationalization).

    Args:
        resource: gives the path of a file in the module's Resources.
    """
    settings = qt.QSettings()
    on = str(settings.value("Internationalization/Enabled")).lower() in ("true", "1")
    chosen = str(settings.value("language") or "") if on else ""
    for name in (chosen.replace("-", "_"), chosen.replace("-", "_").split("_")[0]):
        path = Path(resource(f"Translations/FedSeg_{name}.ts"))
        if name and path.is_file():
            language.use(language.read_catalogue(path))
            return
    language.use(None)


def translate_form(path, widgets):
    """Put a form's texts into the chosen language.

    Args:
        path: the .ui file. widgets: its widgets by name.
    """
    for element in ET.parse(path).iter("widget"):  # noqa: S314  our own file
        widget = getattr(widgets, element.get("name"), None)
        if widget is None:
            continue
        for entry in element.findall("property"):
            text = entry.findtext("string")
            if text and entry.get("name") in _SHOWN:
                setattr(widget, entry.get("name"), language.tr(text))
        titles = [
            language.tr(text) for text in (c.findtext("property/string") for c in element.findall("column")) if text
        ]
        if titles:
            widget.setHorizontalHeaderLabels(titles)
