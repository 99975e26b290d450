"""The page beside a label file: what was done, how good it is on the hold-out, and overlays to judge by eye."""

from __future__ import annotations

import base64
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import __version__
from ..errors import DataError
from ..images import image_path, read_image
from ..masks import rle
from ..provenance import write_whole
from ..records import Rle
from . import draw

REPORT_FILE, SHEET_FILE = "report.html", "overlays.png"
_THUMB_PX = 320
_SHEET_TILES = 30
_LISTED = 50  # rows of one list in `stats` before it is cut
_LEGEND = "blue: visible   orange, hatched: completed   white line: whole object"


@dataclass(frozen=True)
class Item:
    """One label as the gallery shows it.

    Attributes:
        annotation: the entry of the label file.
        category: its name.
        occluders: "name #id" of each.
        picture: (h, w, 3) uint8 RGB overlay.
        photo_missing: the photo could not be read, the overlay is on grey.
    """

    annotation: Mapping[str, Any]
    category: str
    file_name: str
    occluders: list[str]
    picture: np.ndarray
    photo_missing: bool

    @property
    def growth(self) -> float:
        """Amodal over modal area."""
        return _growth(self.annotation)

    @property
    def uncertainty(self) -> float:
        """Expected error, 0 to 1."""
        return _uncertainty(self.annotation)

    @property
    def flags(self) -> list[str]:
        """What to look at."""
        return list(self.annotation["amodalpl"].get("flags", ()))

    @property
    def source(self) -> str:
        """The overlay as a data URL."""
        return "data:image/jpeg;base64," + base64.b64encode(draw.encode_jpeg(self.picture)).decode("ascii")


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: from, to, how many, and its height in parts of the highest."""

    low: float
    high: float
    count: int
    height: float


def write_label_page(
    folder: Path,
    label_json: Mapping[str, Any],
    images: Path,
    stats: Mapping[str, Any],
    holdout_scores: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    max_items: int = 200,
) -> list[Path]:
    """Write `report.html`, one page without outside parts, and `overlays.png`, a contact sheet of its gallery.

    Equal labels and photos give equal bytes. A photo that cannot be read, or is of another size than its masks, is
    replaced by grey and counted on the page.

    Args:
        folder: output folder, there already.
        label_json: content of the label file (`pseudo_amodal.json`).
        images: folder of the photos.
        stats: counts of the stage, nested as one likes.
        holdout_scores: protocol -> row -> metric -> value of the completer; None when it has none.
        max_items: labels in the gallery: the most doubtful, the most grown, and some from all over the file.

    Returns:
        The two files.

    Raises:
        DataError: an annotation is not of a label file.
        OutputError: a file cannot be written.
    """
    annotations = [_checked(a, n) for n, a in enumerate(label_json["annotations"])]
    grown = [a for a in annotations if _growth(a) > 1]
    chosen = choose(grown, max_items)
    items = _items(label_json, [a for group in chosen.values() for a in group], images)
    sections = [(title, [items[a["id"]] for a in group]) for title, group in chosen.items()]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    page = environment.get_template("labels.html").render(
        version=__version__,
        facts=_facts(label_json, annotations),
        flags=sorted(Counter(f for a in annotations for f in a["amodalpl"].get("flags", ())).items()),
        uncertainty=histogram([_uncertainty(a) for a in grown], np.linspace(0, 1, 21)),
        growth=histogram([min(_growth(a), 3.99) for a in grown], np.linspace(1, 4, 16)),
        scores=holdout_scores or {},
        stats=list(_rows(stats)),
        sections=sections,
        shown=len(items),
        grown=len(grown),
        photos_missing=len({i.file_name for i in items.values() if i.photo_missing}),
        legend=_LEGEND,
    )
    report, sheet = folder / REPORT_FILE, folder / SHEET_FILE
    write_whole(report, lambda part: part.write_text(page, encoding="utf-8"))
    picture = draw.encode_png(_sheet(sections))
    write_whole(sheet, lambda part: part.write_bytes(picture))
    return [report, sheet]


def choose(grown: Sequence[Mapping[str, Any]], max_items: int) -> dict[str, list[Mapping[str, Any]]]:
    """Choose labels to look at, none twice: two fifths by doubt, three tenths by growth, the rest evenly by id.

    The worst alone would mislead about the whole, and an even sample alone would hide the worst.

    Returns:
        Title to labels; one group when all fit.
    """
    by_id = sorted(grown, key=lambda a: a["id"])
    by_doubt = sorted(by_id, key=lambda a: (-_uncertainty(a), -_growth(a)))
    if len(grown) <= max_items:
        return {"All, the most doubtful first": by_doubt} if by_doubt else {}
    doubtful = by_doubt[: math.ceil(max_items * 0.4)]
    taken = {a["id"] for a in doubtful}
    by_growth = (a for a in sorted(by_id, key=lambda a: -_growth(a)) if a["id"] not in taken)
    most_grown = list(islice(by_growth, max_items * 3 // 10))
    taken |= {a["id"] for a in most_grown}
    rest = [a for a in by_id if a["id"] not in taken]
    room = max_items - len(taken)  # fewer than the rest, since not all fit
    even = [rest[k * len(rest) // room] for k in range(room)]
    groups = {
        "Most doubtful": doubtful,
        "Grown most": most_grown,
        "From all over the file": sorted(even, key=lambda a: (-_growth(a), a["id"])),
    }
    return {title: group for title, group in groups.items() if group}


def histogram(values: Sequence[float], edges: np.ndarray) -> list[Bar]:
    """Count values between edges; empty without values.

    >>> [bar.count for bar in histogram([0.1, 0.2, 0.9], np.array([0, 0.5, 1]))]
    [2, 1]
    """
    if not values:
        return []
    counts, _ = np.histogram(values, edges)
    most = max(1, int(counts.max()))
    return [
        Bar(float(low), float(high), int(n), int(n) / most)
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def format_number(value: Any) -> str:
    """Write a number as people read it.

    >>> [format_number(v) for v in (0.93512, 838, None, "asbu")]
    ['0.935', '838', '–', 'asbu']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)


def _checked(annotation: Any, index: int) -> Mapping[str, Any]:
    needed = {"id", "image_id", "category_id", "segmentation", "visible_mask", "amodalpl"}
    missing = sorted(needed - annotation.keys()) if isinstance(annotation, dict) else sorted(needed)
    if missing:
        raise DataError(f"annotations[{index}]: expected an entry of a label file, found no {', '.join(missing)}")
    return annotation


def _growth(annotation: Mapping[str, Any]) -> float:
    return float(annotation["amodalpl"].get("growth") or 1.0)


def _uncertainty(annotation: Mapping[str, Any]) -> float:
    return float(annotation["amodalpl"].get("uncertainty") or 0.0)


def _facts(label_json: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    growths = [g for g in map(_growth, annotations) if g > 1]
    completers = sorted({str(a["amodalpl"].get("completer", "unknown")) for a in annotations})
    return [
        ("photos", len(label_json["images"])),
        ("labels", len(annotations)),
        ("grown behind others", len(growths)),
        ("as seen, nothing added", len(annotations) - len(growths)),
        ("growth, median of the grown", float(np.median(growths)) if growths else None),
        ("growth, largest", max(growths, default=None)),
        ("completer", ", ".join(completers) or None),
    ]


def _items(label_json: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]], images: Path) -> dict[int, Item]:
    """Draw the items, photo by photo, so that each is read once; by annotation id."""
    names = {c["id"]: str(c.get("name", c["id"])) for c in label_json.get("categories", ())}
    category_of = {a["id"]: names.get(a["category_id"], str(a["category_id"])) for a in label_json["annotations"]}
    file_names = {i["id"]: str(i["file_name"]) for i in label_json["images"]}
    by_photo: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        by_photo[annotation["image_id"]].append(annotation)
    items = {}
    for image_id, group in by_photo.items():
        file_name = file_names.get(image_id, str(image_id))
        size_hw = tuple(group[0]["segmentation"]["size"])
        photo = _photo(images, file_name, size_hw)
        ground = np.full((*size_hw, 3), 96, dtype=np.uint8) if photo is None else photo
        for annotation in group:
            occluders = annotation["amodalpl"].get("occluders", ())
            picture = draw.close_up(
                ground, _mask(annotation["visible_mask"]), _mask(annotation["segmentation"]), _THUMB_PX
            )
            items[annotation["id"]] = Item(
                annotation,
                category_of[annotation["id"]],
                file_name,
                [f"{category_of.get(o, 'unknown')} #{o}" for o in occluders],
                picture,
                photo is None,
            )
    return items


def _photo(images: Path, file_name: str, size_hw: tuple[int, ...]) -> np.ndarray | None:
    try:
        photo = read_image(image_path(images, file_name))
    except DataError:
        return None
    return photo if photo.shape[:2] == size_hw else None


def _mask(entry: Mapping[str, Any]) -> np.ndarray:
    counts = entry["counts"]
    return rle.decode(
        Rle(size=list(entry["size"]), counts=counts.encode("ascii") if isinstance(counts, str) else counts)
    )


def _rows(stats: Mapping[str, Any], depth: int = 0) -> Iterable[tuple[int, str, str]]:
    """Spread nested counts over rows: (depth, name, value)."""
    for name, value in stats.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield depth, label, "" if value else "none"
            yield from _rows(value, depth + 1)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield depth, label, format_number(len(value))
            for entry in value[:_LISTED]:
                text = (
                    ", ".join(f"{k} {format_number(v)}" for k, v in entry.items()) if isinstance(entry, Mapping) else ""
                )
                yield depth + 1, text or format_number(entry), ""
            if len(value) > _LISTED:
                yield depth + 1, f"and {len(value) - _LISTED} more in stats.json", ""
        else:
            yield depth, label, format_number(value)


def _sheet(sections: Sequence[tuple[str, Sequence[Item]]]) -> np.ndarray:
    """Lay out the first of every section, in equal parts."""
    share = _SHEET_TILES // max(1, len(sections))
    pictures = [(_title(item), item.picture) for _, items in sections for item in items[:share]]
    legend = (
        f"{_LEGEND}   |   " + ", ".join(title.lower() for title, _ in sections) if sections else "no label was grown"
    )
    return draw.contact_sheet(pictures, legend=legend)


def _title(item: Item) -> str:
    grown = f"{item.category}   +{100 * (item.growth - 1):.0f} %"
    return f"{grown}\ndoubt {item.uncertainty:.2f}   #{item.annotation['id']}"
