"""Texts of the module, as its source and its forms have them, for the translation catalogues (Qt's ``.ts`` files).

``python SlicerFedSeg/Testing/catalogue.py`` brings every catalogue up to date: texts that are new are added without a
translation, texts that are gone are dropped. The tests refuse a catalogue that is not complete.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

MODULE = Path(__file__).resolve().parents[1]
CODE = "FedSeg"
SHOWN = ("text", "toolTip", "placeholderText", "title", "windowTitle", "html")


def texts_of_code() -> list[str]:
    """Every text within ``_()`` or ``mark()``, in order of appearance."""
    found: dict[str, None] = {}
    for path in [
        MODULE / "FedSeg.py",
        *sorted(MODULE.glob("FedSegLib/**/*.py")),
        *sorted(MODULE.glob("FedSegPanel/*")),
    ]:
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "mark"):
                argument = node.args[0]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found[argument.value] = None
    return list(found)


def texts_of_form(path: Path) -> list[str]:
    """Every text that a form shows."""
    found: dict[str, None] = {}
    for element in ET.parse(path).iter("property"):  # noqa: S314  our own file
        text = element.findtext("string")
        if element.get("name") in SHOWN and text and any(letter.isalpha() for letter in text):
            found[text] = None
    return list(found)


def contexts() -> dict[str, list[str]]:
    """Texts by context: the code's, and one for every form, as Qt names them."""
    forms = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
    return {CODE: texts_of_code(), **{form.stem: texts_of_form(form) for form in forms}}


def read(path: Path) -> dict[tuple[str, str], str]:
    """A catalogue: (context, text) -> translation, "" where there is none."""
    found: dict[tuple[str, str], str] = {}
    for context in ET.parse(path).iter("context"):  # noqa: S314  our own file
        name = context.findtext("name", "")
        for message in context.iter("message"):
            found[(name, message.findtext("source", ""))] = message.findtext("translation", "")
    return found


def write(path: Path, language: str, translations: dict[tuple[str, str], str]) -> None:
    """Write a catalogue of all present texts."""
    root = ET.Element("TS", version="2.1", language=language, sourcelanguage="en")
    for name, texts in contexts().items():
        context = ET.SubElement(root, "context")
        ET.SubElement(context, "name").text = name
        for text in texts:
            message = ET.SubElement(context, "message")
            ET.SubElement(message, "source").text = text
            answer = translations.get((name, text), "")
            ET.SubElement(message, "translation", {} if answer else {"type": "unfinished"}).text = answer
    ET.indent(root, " ")
    body = ET.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n', encoding="utf-8")


def update() -> None:
    """Bring every catalogue up to date."""
    for path in sorted((MODULE / "Resources" / "Translations").glob("FedSeg_*.ts")):
        write(path, path.stem.split("_", 1)[1], read(path))


if __name__ == "__main__":
    update()
