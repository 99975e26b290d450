"""`amodalpl advise`: what a completer is worth on your own masks, ready-made, fine-tuned or trained, before you choose.

All are scored on one hold-out of occlusions made of your masks, beside the convex hull, which needs no network. A
costlier way is recommended only where it is surely better, so that a difference that may be chance costs nobody hours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..builtin import BUILTIN, completer_folder
from ..completion.checkpoint import read_network_settings
from ..data.read import read_annotations
from ..errors import SettingsError, nearest
from ..io.files import read_json, write_json
from ..metrics.bootstrap import Ratio
from ..metrics.completion import MICRO
from ..metrics.hidden_parts import HIDDEN, METRIC, HiddenParts
from ..metrics.ordering import ONE_WAY
from ..runtime.next_command import argument, beside
from ..runtime.parent_folder import require_own_folder
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from ..settings import SynthesisSettings
from ..settings_values import merge, resolve
from .complete import METRICS, complete
from .stage_table import ADVISED
from .synth import synth

ADVICE, SYNTH = "advice.json", "synth"
HULL = "convex hull"
FEWER_STEPS = 10  # of a training from scratch over those of a fine-tuning
FEWEST_PHOTOS = 6  # scored, one half of those held back; of fewer, intervals say nothing
_HELD_BACK, _MOST_HELD_BACK = SynthesisSettings().holdout_fraction, 0.5  # of the photos, where nothing is asked for


@dataclass(frozen=True)
class Advice:
    """What to do, and why.

    Attributes:
        use: "convex hull", or a name of `ADVISED`.
        sentence: the recommendation in one line.
        scores: row -> metric -> value; `M_low` and `M_high` are the ends of M's interval.
        leads: completer -> `lead` over the convex hull, and the ends of its interval.
    """

    use: str
    sentence: str
    scores: dict[str, dict[str, Any]]
    leads: dict[str, dict[str, float | None]]

    def next_command(self, data: str, out: Path) -> str:
        """Return the command to go on with: label by what is recommended; where that is the hull, train first.

        Once every training was measured, the completer that came nearest to the hull labels.

        Args:
            data: annotations and images, as the command line takes them.
            out: folder of the advice.
        """
        use = self.use
        if use == HULL and ADVISED[-1] not in self.scores:
            return f"amodalpl advise {data} --out {argument(out)} --until {ADVISED[-1]}"
        if use == HULL:
            use = max(self.leads, key=lambda name: self.scores[name][METRIC] or 0)
        completer, labels = argument(out / folder_of(use)), beside(out, out.name, "labels")
        return f"amodalpl pseudolabel {data} --completer {completer} --out {labels}"


def advise(
    annotations: Path,
    images: Path,
    out: Path,
    values: Mapping[str, Any],
    fmt: str = "auto",
    until: str = "fine-tuned",
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Measure completers on occlusions made of the user's masks; an interrupted call goes on.

    Args:
        annotations: any supported annotation file.
        images: folder of the photos.
        out: gets `synth/`, a folder per completer, which `pseudolabel --completer` takes, and `advice.json`.
        values: settings that were asked for; `training.steps` is of a training from scratch.
        fmt: format of the annotations, or "auto".
        until: the costliest completer to measure: "ready-made" (no training), "fine-tuned" (a tenth of the steps), or
            "own" (from scratch).
        device: "auto", "cpu" or "cuda".
        progress: shown while it works.

    Returns:
        The scores side by side, and what to do next.

    Raises:
        SettingsError: another `until`, or a wrong setting.
        OutputError: `out` is a folder of something else.
        AmodalplError: whatever `synth` and `complete` raise.
    """
    if until not in ADVISED:
        raise SettingsError(f"--until: expected {', '.join(ADVISED)}, got {until!r}{nearest(until, ADVISED)}")
    require_own_folder(out, "advise", [SYNTH])
    start = read_network_settings(completer_folder(BUILTIN))
    photos = _photos_with_objects(annotations, fmt)
    enough = math.ceil(1000 * 2 * FEWEST_PHOTOS / max(photos, 1)) / 1000
    held_back = {"holdout_fraction": min(_MOST_HELD_BACK, max(_HELD_BACK, enough))}
    crops = {name: value for name, value in start["synthesis"].items() if name != "layers"}
    values = merge({"synthesis": held_back | crops}, values)
    settings = resolve(values)
    scored = round(photos * settings.synthesis.holdout_fraction) // 2
    synth(annotations, images, out / SYNTH, settings, fmt, progress)
    steps = {"ready-made": 0, "fine-tuned": max(1, settings.training.steps // FEWER_STEPS)}
    wanted = ADVISED[: ADVISED.index(until) + 1]
    if scored < FEWEST_PHOTOS:
        progress.warn(f"nothing is trained, since {scored} photos would be scored and {FEWEST_PHOTOS} are needed")
        wanted = wanted[:1]
    for number, name in enumerate(wanted, start=1):
        progress.note(f"{number}/{len(wanted)} {name}")
        of_this = merge(merge(values, start), {"training": {"steps": steps[name]}}) if name in steps else values
        complete(out / SYNTH, out / folder_of(name), of_this, device, progress, BUILTIN if name in steps else None)
    metrics = {name: read_json(out / folder_of(name) / METRICS, "the scores of a completer") for name in wanted}
    found = recommend(metrics, settings.seed)
    write_json(out / ADVICE, {**asdict(found), "steps": steps})
    return Summary(
        "advise",
        out,
        counts={"advice": found.sentence},
        scores={f"hold-out {HIDDEN}": found.scores},
        files={"advice": out / ADVICE, **{name: out / folder_of(name) for name in wanted}},
        next=found.next_command(f"{argument(annotations)} {argument(images)}", out),
    )


@dataclass(frozen=True)
class _Lead:
    """By how much a completer is better than the way that is recommended otherwise."""

    over: str
    by: float | None
    by_low: float | None
    by_high: float | None

    def __str__(self) -> str:
        return f"{self.by or 0:+.2f} [{self.by_low or 0:+.2f}, {self.by_high or 0:+.2f}]"


def _photos_with_objects(annotations: Path, fmt: str) -> int:
    data = read_annotations(annotations, fmt)
    return len({instance.image_id for instance in data.instances if not instance.is_crowd})


def folder_of(name: str) -> str:
    """Return the folder of a completer within that of the advice.

    >>> folder_of("ready-made")
    'ready_made'
    """
    return name.replace("-", "_")


def recommend(metrics: Mapping[str, Mapping[str, Any]], seed: int = 0) -> Advice:
    """Choose the cheapest way that none of the costlier ones surely beats.

    Args:
        metrics: what `complete` wrote of each completer on one hold-out, the cheapest first.
        seed: of the bootstrap.
    """
    names = list(metrics)
    hidden = {name: HiddenParts.from_json(row["hidden_by_photo"]) for name, row in metrics.items()}
    photos = len(hidden[names[0]].photos)
    ratios = {HULL: hidden[names[0]].ratio(HULL, seed)}
    ratios |= {name: hidden[name].ratio("labels", seed) for name in names}
    enough = photos >= FEWEST_PHOTOS
    use, leads = HULL if enough else names[0], {}
    for name in names if enough else ():
        leads[name] = _Lead(use, **ratios[name].minus(ratios[use]).as_scores("by"))
        if (leads[name].by_low or 0) > 0:
            use = name
    scores = {name: {**ratio.as_scores(METRIC), **_others(metrics, name)} for name, ratio in ratios.items()}
    over_hull = {name: ratios[name].minus(ratios[HULL]).as_scores("lead") for name in names}
    return Advice(use, _sentence(use, photos, ratios, leads), scores, over_hull)


def _others(metrics: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return the whole objects' mIoU and the order's accuracy of a row."""
    of, row = (next(iter(metrics)), HULL) if name == HULL else (name, "labels")
    scores = metrics[of]["scores"]
    whole, order = scores[f"hold-out {MICRO}: all"][row], scores[f"hold-out {ONE_WAY}"].get(row, {})
    return {"miou": whole["miou"], "order_accuracy": order.get("accuracy")}


def _sentence(use: str, photos: int, ratios: Mapping[str, Ratio], leads: Mapping[str, _Lead]) -> str:
    if photos < FEWEST_PHOTOS:
        return f"too few photos to say: {photos} were scored, {FEWEST_PHOTOS} are needed; look at the labels of {use}"
    said = {name: f"{name} {ratio.value or 0:.2f}" for name, ratio in ratios.items()}
    if use == HULL:
        best = max(leads, key=lambda name: ratios[name].value or 0)
        more = "" if ADVISED[-1] in leads else "; a training of your own may be (--until own)"
        return (
            f"no completer is surely better than the {HULL} on these masks: invisible mIoU {said[HULL]}, {said[best]}, "
            f"lead {leads[best]}{more}"
        )
    text = f"use it {use}: invisible mIoU {said[use]}, {said[leads[use].over]}, lead {leads[use]}"
    return text + "".join(
        f"; {name} adds {lead}, which may be chance" for name, lead in leads.items() if lead.over == use
    )
