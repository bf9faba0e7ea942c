"""Reading of a multipart reply (RFC 2046) held in memory: MONAI Label answers an inference with ``params`` + ``image``.

The standard library's ``cgi`` is gone from Python 3.13 and ``email`` would decode and copy a large binary part; this
reads exactly what is needed and refuses anything cut short.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message

from .errors import ProtocolError
from .language import mark
from .language import tr as _

_MAX_PARTS = 16
_MAX_HEADER_BYTES = 8192
_HINT = mark("The connection may have broken off. Try again.")


@dataclass(frozen=True)
class Part:
    """One part: its field name, file name ("" without one) and bytes."""

    name: str
    filename: str
    content: bytes


def parse_multipart(content_type: str, body: bytes) -> dict[str, Part]:
    """Split a multipart body into its named parts.

    Args:
        content_type: the reply's header, with the boundary.
        body: the whole body.

    Raises:
        ProtocolError: no boundary, a part without name or header end, no closing boundary, or too many parts.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not header.get_content_maintype() == "multipart" or not isinstance(boundary, str) or not boundary:
        raise ProtocolError(
            _("The server answered with '{content_type}' instead of parts.").format(
                content_type=content_type or _("no content type")
            ),
            _(_HINT),
        )
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    chunks = (b"\r\n" + body).split(delimiter)
    if len(chunks) < 2 or not chunks[-1].startswith(b"--"):
        raise ProtocolError(_("The server's reply was cut short after {body} bytes.").format(body=len(body)), _(_HINT))
    if len(chunks) - 2 > _MAX_PARTS:
        raise ProtocolError(
            _("The server's reply has {chunks} parts; {most} are the most expected.").format(
                chunks=len(chunks) - 2, most=_MAX_PARTS
            )
        )
    parts = [_part(chunk) for chunk in chunks[1:-1]]
    return {part.name: part for part in parts}


def _part(chunk: bytes) -> Part:
    head, separator, content = chunk.partition(b"\r\n\r\n")
    if not separator or len(head) > _MAX_HEADER_BYTES:
        raise ProtocolError(_("A part of the server's reply has no end of its header."), _(_HINT))
    header = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, colon, value = line.partition(":")
        if colon:
            header[key.strip()] = value.strip()
    name = header.get_param("name", header="content-disposition")
    if not isinstance(name, str) or not name:
        raise ProtocolError(_("A part of the server's reply has no name."), _(_HINT))
    filename = header.get_param("filename", header="content-disposition")
    return Part(name, filename if isinstance(filename, str) else "", content)
