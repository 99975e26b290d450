"""XML of annotation tools."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NoReturn

from ..errors import DataError


class _NoEntities(ET.TreeBuilder):
    """Refuses document types, which no annotation tool writes: entities in them can fill the memory."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ET.ParseError("a document type is not allowed")


def read_xml(file: Path, what: str) -> ET.Element:
    """Return the root of an XML file.

    Args:
        file: to read.
        what: it should be, for messages, such as "a CVAT XML file".

    Raises:
        DataError: it cannot be read, is not XML, or has a document type.
    """
    try:
        return ET.parse(file, ET.XMLParser(target=_NoEntities())).getroot()
    except OSError as error:
        raise DataError(f"{file}: expected {what}, could not read it ({error.strerror})") from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: expected {what}, got something else ({str(error)[:120]})") from None
