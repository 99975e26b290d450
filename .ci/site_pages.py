"""A hook of MkDocs: pages of the repository outside docs/ are pages of the site too, and links lead to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LOG.md", "LICENSE", "examples/README.md", "docker/README.md")
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and the files that pages link to."""
    for name in (*BESIDE, *_linked_files()):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages, whose folder docs/ is the root."""
    source = page.file.src_uri
    folder = (ROOT / source if source in BESIDE else ROOT / "docs" / source).parent
    return _LINK.sub(lambda link: link[1] + _on_site(folder, Path(source).parent, link[2]), markdown)


def _on_site(folder: Path, page_folder: Path, target: str) -> str:
    wanted = (folder / target).resolve().relative_to(ROOT)
    wanted = wanted.relative_to("docs") if wanted.is_relative_to("docs") else wanted
    return "../" * len(page_folder.parts) + wanted.as_posix()


def _linked_files() -> set[str]:
    """Return what pages link to outside docs/, other than pages."""
    found = set()
    for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in BESIDE if name.endswith(".md"))]:
        for link in _LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / link[2]).resolve()
            if target.is_file() and target.is_relative_to(ROOT) and not target.is_relative_to(ROOT / "docs"):
                found.add(target.relative_to(ROOT).as_posix())
    return found - set(BESIDE)
