"""What the pages have in common: one HTML file that holds its style, script and pictures, and asks for no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..io.files import write_bytes
from .numbers import format_number

_HERE = Path(__file__).parent


def write_page(path: Path, template: str, styles: Sequence[str], scripts: Sequence[str] = (), **values: Any) -> None:
    """Fill a template of this folder and write it; what is filled in is escaped.

    Args:
        path: of the page.
        template: its name.
        styles: names of the style sheets, which the template gets as `style`.
        scripts: names of the scripts, which it gets as `script`, with the `script_hash` that its policy allows.
        values: what else it gets.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["number"] = format_number
    style, script = (
        "".join((_HERE / name).read_text(encoding="utf-8") for name in names) for names in (styles, scripts)
    )
    page = environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        **values,
    )
    write_bytes(path, page.encode("utf-8", "replace"))
