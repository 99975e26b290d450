"""What the package's completer is worth: on truth drawn by people, and on occlusions made of masks it never saw.

Data with truth are labelled twice, with the thresholds that the completer came with and with those fitted to the data;
others are measured as `amodalpl advise` does. Both stand beside the convex hull, with intervals over photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError
from amodalpl.evaluation.promise import ORDER, evaluate_promise
from amodalpl.io.files import read_json, write_json, write_whole
from amodalpl.io.yaml import load_yaml
from amodalpl.metrics.hidden_parts import HIDDEN, METRIC
from amodalpl.pipeline.advise import ADVICE, advise
from amodalpl.pipeline.pseudolabel import pseudolabel
from amodalpl.settings_values import explicit_values, merge, resolve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "builtin_completer.md"
BEGIN, END = "<!-- scores: python -m benchmarks.builtin scores -->\n", "<!-- end of scores -->\n"
_KEYS = {"truth", "annotations", "images", "drawn"}
_ROWS = {"as it came": False, "fitted to the photos": True}
_HEAD = ("data", "objects", "row", "invisible mIoU", "over the hull", "order accuracy")

Row = dict[str, Any]


def measure(data: Path, out: Path, completer: str = "builtin", until: str = "ready-made", page: Path = PAGE) -> str:
    """Measure the completer on every data set of a file, and put the table into the model card.

    Args:
        data: YAML, name -> `truth` (any file with whole masks), `annotations` (of visible ones; the truth's by default)
            and `images`; without `truth`, occlusions are made of the masks; `drawn: N` draws N scenes.
        out: folder for labels, scores and `scores.json`; what is there already is not measured again.
        completer: "builtin", or a folder.
        until: how far to train where occlusions are made of the masks: "ready-made", "fine-tuned" or "own".
        page: the model card; its table is replaced.

    Returns:
        The table.

    Raises:
        DataError: an entry of the file is of another kind.
    """
    sets = load_yaml(data.read_text(encoding="utf-8"))
    rows: list[Row] = []
    for name, given in sets.items():
        if not isinstance(given, Mapping) or given.keys() - _KEYS:
            raise DataError(f"{data}: {name}: expected {', '.join(sorted(_KEYS))}, got {given!r}")
        if "drawn" in given:
            files = write_scenes(out / name / "scenes", int(given["drawn"]), seed=7)
            given = {"truth": files.truth, "annotations": files.annotations, "images": files.images}
        paths = {key: (data.parent / value).resolve() for key, value in given.items()}
        found = _against_truth(paths, out / name, completer) if "truth" in paths else _advice(paths, out / name, until)
        rows += [{"data": name, **row} for row in found]
    write_json(out / "scores.json", {"seed": 0, "protocols": [HIDDEN, ORDER], "completer": completer, "rows": rows})
    table = _table(rows)
    if page.exists():
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        filled = f"{before}{BEGIN}\n{table}\n{END}{after}"
        write_whole(page, lambda part: part.write_bytes(filled.encode()))
    return table


def _against_truth(paths: Mapping[str, Path], out: Path, completer: str) -> Iterator[Row]:
    """Label the visible masks, and score hidden parts and order against the truth."""
    for number, (name, refits) in enumerate(_ROWS.items()):
        settings = resolve(merge(explicit_values(None), {"labels": {"refit": refits}}))
        labels = out / name.replace(" ", "_")
        modal = paths.get("annotations", paths["truth"])
        made = pseudolabel(modal, paths["images"], completer, labels, settings)
        found = evaluate_promise(paths["truth"], labels)
        hidden, order = found.scores[HIDDEN], found.scores[ORDER]
        objects = found.counts["matched"]
        if number == 0:
            hull_order = order.get("convex hull", {}).get("accuracy")
            yield {"objects": objects, "row": "convex hull", **hidden["convex hull"], "order": hull_order}
        lead = {f"lead{key.removeprefix(METRIC)}": value for key, value in hidden["labels - convex hull"].items()}
        note = "" if not refits or "fitted to" in made.counts.get("completer", "") else " (too few objects to fit)"
        row = {"objects": objects, "row": name + note, **hidden["labels"], **lead}
        yield {**row, "order": order["labels"]["accuracy"]}


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
            "order": scores["order_accuracy"],
            **advice["leads"].get(name, {}),
        }


def _table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    before = ""
    for row in rows:
        cells = [
            row["data"] if row["data"] != before else "",
            str(row["objects"]) if row["data"] != before else "",
            row["row"],
            _interval(row, METRIC),
            _interval(row, "lead", "+"),
            "-" if row.get("order") is None else f"{row['order']:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
        before = row["data"]
    return "\n".join(lines)


def _interval(row: Row, name: str, sign: str = "") -> str:
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    return f"{value:{sign}.3f}{ends}"
