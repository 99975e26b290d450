"""`amodalpl evaluate completer`: a trained completer on another hold-out of the photos it never saw."""

from __future__ import annotations

from pathlib import Path

from ..calibration.holdout import HOLDOUT, read_holdout
from ..completion.checkpoint import CARD, load_completer
from ..errors import DataError
from ..runtime.distributed import pick_device
from ..runtime.progress import SILENT, Progress
from ..runtime.stage_run import finished_run
from ..runtime.summary import Summary
from ..settings import LabelSettings
from .holdout_scores import score
from .scores_file import Digest, write_evaluation


def evaluate_completer(
    completer: Path,
    synth_dir: Path,
    labels: LabelSettings,
    *,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Summary:
    """Score a completer on the reporting half of a hold-out, as `amodalpl complete` does, with what it chose there.

    The hold-out may have other occluders than the one it was trained beside (more of them, placed otherwise), but must
    be made of the same photos: any other could hold photos that it was trained on.

    Args:
        completer: output folder of `amodalpl complete`.
        synth_dir: output folder of `amodalpl synth`.
        labels: how labels are made.
        out: folder for `evaluation_completer.json`; nothing is written when None.
        device: "auto", "cpu" or "cuda".
        progress: shows the scenes done.

    Returns:
        The scores that `amodalpl complete` prints.

    Raises:
        OutputError: a folder is of another stage, or unfinished.
        DataError: the completer was trained on cut-outs other than those beside this hold-out.
        CheckpointError: the completer is damaged.
    """
    trained_on = (finished_run(completer, "complete").get("inputs") or {}).get("bank")
    beside = (finished_run(synth_dir, "synth").get("outputs") or {}).get("bank/table.npy")
    if trained_on != beside or beside is None:
        raise DataError(
            f"{synth_dir}: expected a hold-out of the photos that {completer} was trained without, got one beside "
            "other cut-outs; run `amodalpl synth` on the same annotations, with the same seed, changing only "
            "synthesis.holdout_scenes, _placement, _size, _hidden, _occluded and _whole"
        )
    trained = load_completer(completer, pick_device(device))
    holdout = read_holdout(synth_dir, with_images=trained.completer.uses_image)
    report = score(trained, holdout, labels, progress)
    scored, scenes = Digest(), holdout.cases("report")
    for image_id in scenes:
        for instance in holdout.data.by_image[image_id]:
            scored.add(image_id, instance.id)
    counts = {"hold-out scenes": len(scenes), "instances": scored.objects}
    summary = Summary("evaluate completer", out, counts=counts, scores=report.scores)
    options = labels.model_dump(mode="json")
    return write_evaluation(
        summary,
        "evaluation_completer.json",
        options,
        scored,
        truth=synth_dir / HOLDOUT,
        labels=completer / CARD,
    )
