"""Texts in the person's language: every text that is shown goes through :func:`tr` (imported as ``_``).

The texts in the code and in the forms are the English ones; ``Resources/Translations/FedSeg_<language>.ts`` holds the
others, in the format of Qt's own tools. It is read once, without Qt, because texts are made on worker threads, too.
Texts with values are translated first and filled after: ``_("Fetching '{case}' …").format(case=name)``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

Translate = Callable[[str], str]


def mark(text: str) -> str:
    """The text itself; names a text at file scope that :func:`tr` translates where it is shown."""
    return text


class _Language:
    """Who translates; the English texts as they are until somebody is named."""

    translate: Translate = staticmethod(mark)


def use(catalogue: Mapping[str, str] | Translate | None) -> None:
    """Translate with this from now on; None for English. A text that a catalogue lacks stays English."""
    if isinstance(catalogue, Mapping):
        known = dict(catalogue)

        def found(text: str) -> str:
            return known.get(text, text)

        _Language.translate = staticmethod(found)
    else:
        _Language.translate = staticmethod(catalogue or mark)


def tr(text: str) -> str:
    """A text in the person's language."""
    return _Language.translate(text) if text else ""


def read_catalogue(path: Path) -> dict[str, str]:
    """Text -> translation, of one of the module's catalogues (Qt's ``.ts`` format)."""
    found = {}
    for message in ET.parse(path).iter("message"):  # noqa: S314  our own file
        source, translation = message.findtext("source"), message.findtext("translation")
        if source and translation:
            found[source] = translation
    return found
