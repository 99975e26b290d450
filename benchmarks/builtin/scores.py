"""What the package's completer is worth: on truth drawn by people, and on occlusions made of masks it never saw.

Data with truth are labelled twice, with the thresholds that the completer came with and with those fitted to the data,
and once more by each completer that it is to be compared with; others are measured as `amodalpl advise` does. All
stand beside the convex hull, with intervals over photos; what is compared is compared within each draw of photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amodalpl.builtin import BUILTIN
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from amodalpl.evaluation.completion import score_objects
from amodalpl.evaluation.order import count_orders
from amodalpl.evaluation.promise import ORDER
from amodalpl.evaluation.scores_file import LABELS, label_file, read_truth
from amodalpl.io.files import read_json, write_json, write_whole
from amodalpl.io.yaml import load_yaml
from amodalpl.metrics.bootstrap import Ratio, draw_photos, ratio_of_sums
from amodalpl.metrics.hidden_parts import HIDDEN, METRIC, HiddenParts
from amodalpl.metrics.ordering import OrderCounts
from amodalpl.pipeline.advise import ADVICE, HULL, advise
from amodalpl.pipeline.make_labels import make_labels
from amodalpl.settings_values import explicit_values, merge, resolve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "builtin_completer.md"
BEGIN, END = "<!-- scores: python -m benchmarks.builtin scores -->\n", "<!-- end of scores -->\n"
_KEYS = {"truth", "annotations", "images", "drawn", "beside"}
AS_IT_CAME, FITTED = "as it came", "fitted to the photos"  # rows of the package's completer
_ORDER, _OVER_HULL, _OVER_IT = "order_accuracy", "lead", "lead_over_it"
_COLUMNS = {  # heading -> metric, sign
    "invisible mIoU": (METRIC, ""),
    "over the hull": (_OVER_HULL, "+"),
    "over it as it came": (_OVER_IT, "+"),
    "order accuracy": (_ORDER, ""),
}
_GAP_PX, _SEED = 2, 0  # as `amodalpl evaluate` has them

Row = dict[str, Any]


def measure(
    data: Path, out: Path, others: Mapping[str, Path] | None = None, until: str = "ready-made", page: Path = PAGE
) -> str:
    """Measure the completer on every data set of a file, and put the table into the model card.

    Args:
        data: YAML, name -> `truth` (any file with whole masks), `annotations` (of visible ones; the truth's by default)
            and `images`; without `truth`, occlusions are made of the masks; `drawn: N` draws N scenes. `beside` lists
            the other completers to be measured there; all by default. One that was trained on its photos is left out.
        out: folder for labels, scores and `scores.json`; what is there already is not measured again.
        others: name -> folder of a completer to compare it with where there is truth.
        until: how far to train where occlusions are made of the masks: "ready-made", "fine-tuned" or "own".
        page: the model card; its table is replaced.

    Returns:
        The table.

    Raises:
        DataError: an entry of the file is of another kind.
    """
    sets, others = load_yaml(data.read_text(encoding="utf-8")), others or {}
    rows: list[Row] = []
    for name, given in sets.items():
        if not isinstance(given, Mapping) or given.keys() - _KEYS:
            raise DataError(f"{data}: {name}: expected {', '.join(sorted(_KEYS))}, got {given!r}")
        here = {key: others[key] for key in _named(f"{data}: {name}", given.get("beside", list(others)), others)}
        if "drawn" in given:
            files = write_scenes(out / name / "scenes", int(given["drawn"]), seed=7)
            given = {"truth": files.truth, "annotations": files.annotations, "images": files.images}
        paths = {key: (data.parent / value).resolve() for key, value in given.items() if key != "beside"}
        found = _against_truth(paths, out / name, here) if "truth" in paths else _advice(paths, out / name, until)
        rows += [{"data": name, **row} for row in found]
    compared = {name: str(folder) for name, folder in others.items()}
    write_json(out / "scores.json", {"seed": _SEED, "protocols": [HIDDEN, ORDER], "others": compared, "rows": rows})
    table = _table(rows)
    if page.exists():
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        filled = f"{before}{BEGIN}\n{table}\n{END}{after}"
        write_whole(page, lambda part: part.write_bytes(filled.encode()))
    return table


def _named(where: str, names: Any, others: Mapping[str, Path]) -> list[str]:
    if not isinstance(names, list) or not set(names) <= others.keys():
        raise DataError(f"{where}: beside: expected a list of some of {sorted(others)}, got {names!r}")
    return names


def _against_truth(paths: Mapping[str, Path], out: Path, others: Mapping[str, Path]) -> Iterator[Row]:
    """Label the visible masks in each way, and score hidden parts and order against the truth."""
    known, hidden = read_truth(paths["truth"]), HiddenParts()
    orders: dict[str, list[OrderCounts]] = {}
    notes: dict[str, str] = {}
    ways: list[tuple[str, str | Path, bool | None]] = [(AS_IT_CAME, BUILTIN, False), (FITTED, BUILTIN, True)]
    for name, completer, refits in [*ways, *((name, folder, None) for name, folder in others.items())]:
        settings = resolve(merge(explicit_values(None), {"labels": {"refit": refits}}))
        labels = out / name.replace(" ", "_")
        made = make_labels(paths.get("annotations", paths["truth"]), paths["images"], completer, labels, settings)
        if refits and "fitted to" not in made.counts.get("completer", ""):
            notes[name] = " (too few objects to fit)"
        scored = score_objects(known, label_file(labels), things_only=False, gap_px=_GAP_PX)
        pairs = count_orders(known, labels, things_only=False, gap_px=_GAP_PX).rows
        for row, source in {HULL: HULL, name: LABELS}.items():
            if row not in orders:
                orders[row] = pairs[source]
                for one, counts in zip(scored.objects, scored.rows[source], strict=True):
                    hidden.add(one.image_id, row, [counts])
    ratios = {row: hidden.ratio(row, _SEED) for row in orders}
    for row, ratio in ratios.items():
        scores = {**ratio.as_scores(METRIC), **_accuracy(orders[row]).as_scores(_ORDER)}
        if row != HULL:
            scores |= ratio.minus(ratios[HULL]).as_scores(_OVER_HULL)
        if row in others:
            scores |= ratio.minus(ratios[AS_IT_CAME]).as_scores(_OVER_IT)
        yield {"objects": len(scored.objects), "row": row + notes.get(row, ""), **scores}


def _accuracy(photos: list[OrderCounts]) -> Ratio:
    return ratio_of_sums([p.correct for p in photos], [p.pairs for p in photos], draw_photos(len(photos), _SEED))


def _advice(paths: Mapping[str, Path], out: Path, until: str) -> Iterator[Row]:
    """Score on occlusions made of the masks; the completers that were measured and the hull, on the same hold-out."""
    values = explicit_values(Path("coco_cpu"))
    found = advise(paths["annotations"], paths["images"], out / "advice", values, until=until)
    objects = read_json(out / "advice" / "synth" / "run.json", "the record of a hold-out")["counts"]["hold-out objects"]
    advice = read_json(out / "advice" / ADVICE, "advice")
    for name, scores in next(iter(found.scores.values())).items():
        yield {
            "objects": objects,
            "row": name,
            **scores,
            **advice["leads"].get(name, {}),
        }


def _table(rows: list[Row]) -> str:
    head = ("data", "objects", "row", *_COLUMNS)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    before = ""
    for row in rows:
        data = [row["data"], str(row["objects"])] if row["data"] != before else ["", ""]
        cells = [*data, row["row"], *(_interval(row, metric, sign) for metric, sign in _COLUMNS.values())]
        lines.append("| " + " | ".join(cells) + " |")
        before = row["data"]
    return "\n".join(lines)


def _interval(row: Row, name: str, sign: str) -> str:
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    return f"{value:{sign}.3f}{ends}"
