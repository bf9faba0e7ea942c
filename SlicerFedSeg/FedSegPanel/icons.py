"""Our own icons: SVG drawn in the text's colour, so that they can be read in light and dark themes."""

from pathlib import Path

import qt


def themed_icon(path, widget):
    """The icon of an SVG file whose ``currentColor`` is the widget's text colour.

    Args:
        path: the file.
        widget: tells the theme's colours.
    """
    color = widget.palette.color(qt.QPalette.Active, qt.QPalette.WindowText).name()
    drawing = Path(path).read_text(encoding="utf-8").replace("currentColor", color)
    picture = qt.QPixmap()
    picture.loadFromData(qt.QByteArray(drawing.encode("utf-8")), "SVG")
    return qt.QIcon(picture)
