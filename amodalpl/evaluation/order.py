"""`amodalpl evaluate order`: who hides whom, always beside the rules that cost nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.label_folder import LABELS as LABEL_FILE
from ..data.label_folder import ORDER
from ..data.read import read_annotations
from ..data.records import AnnotationSet
from ..errors import DataError
from ..io.files import read_json
from ..masks import boxed
from ..masks.boxed import BoxedMask, BoxedMasks
from ..masks.neighbours import near_pairs
from ..masks.rle import Rle
from ..metrics import baselines, ordering
from ..runtime.progress import SILENT, Progress
from ..runtime.summary import Summary
from .scores_file import LABELS, Digest, label_file, read_truth, write_evaluation

IndexPair = tuple[int, int]


def evaluate_order(
    truth: Path,
    labels: Path,
    *,
    things_only: bool = False,
    gap_px: int = 2,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Compare who hides whom with the order that true masks imply, and with annotated depth where the truth has it.

    Args:
        truth: any supported file with amodal masks; instances without a modal mask take no part. COCOA's
            `depth_constraint`, where it is there, is scored as a protocol of its own.
        labels: a label folder, its `pseudo_amodal.json` or `order.json`: the recovered order counts. Of any other
            annotation file the order that its amodal masks imply (of plain COCO, `segmentation`).
        things_only: leave out stuff.
        gap_px: free pixels between two masks that still count as neighbours, for directed pairs. O-Acc looks at masks
            that touch, as the papers do.
        out: folder for `evaluation_order.json`; nothing is written when None.
        progress: shows the photos done.

    Returns:
        `scores`: protocol -> "smaller in front", "larger in front", "lower in front", "convex hull", "labels" ->
        metric -> value.

    Raises:
        DataError: no amodal masks in the truth, an order file of another shape, or no annotation in common.
    """
    known = read_truth(truth)
    found = count_orders(known, labels, things_only=things_only, gap_px=gap_px, progress=progress)
    scores: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row, of_images in found.rows.items():
        for protocol, values in ordering.compute(of_images).items():
            scores[protocol][row] = values
        if known.front_of:
            scores[ordering.ANNOTATED][row] = ordering.compute_annotated(found.annotated[row])
    counts = {**found.tally, "annotated_pairs": len(known.front_of), "order_from": found.what}
    summary = Summary(stage="evaluate order", out=out, counts=counts, scores=dict(scores))
    options = {"things_only": things_only, "gap_px": gap_px}
    return write_evaluation(summary, "evaluation_order.json", options, found.digest, truth=truth, labels=found.path)


@dataclass(frozen=True)
class CountedOrders:
    """The order of every photo in numbers of pairs.

    Attributes:
        rows: "labels" and the rules that cost nothing -> the counts of each photo.
        annotated: the same against annotated depth.
        tally: photos and instances, and what took no part.
        digest: of what was scored.
        path: of the order.
        what: where the order of the labels comes from.
    """

    rows: dict[str, list[ordering.OrderCounts]]
    annotated: dict[str, list[ordering.OrderCounts]]
    tally: dict[str, int]
    digest: Digest
    path: Path
    what: str


def count_orders(
    known: AnnotationSet, labels: Path, *, things_only: bool, gap_px: int, progress: Progress = SILENT
) -> CountedOrders:
    """Count the pairs of every photo that truth and labels have in common.

    Args:
        known: the truth.
        labels: as `evaluate_order` takes them.
        things_only: leave out stuff.
        gap_px: free pixels between two masks that still count as neighbours.
        progress: shows the photos done.

    Raises:
        DataError: an order file of another shape, or no annotation in common.
    """
    truth, source = known.path, _read_order(labels)
    depth = _by_image(known)
    if isinstance(source, _FileOrder):
        source.check_ids({i.id for i in known.instances}, truth)
    rows: dict[str, list[ordering.OrderCounts]] = defaultdict(list)
    annotated: dict[str, list[ordering.OrderCounts]] = defaultdict(list)
    digest = Digest()
    tally = {"photos": 0, "instances": 0, "photos_without_labels": 0, "without_both_masks": 0}
    with progress.task("scoring", len(known.images)) as advance:
        for image in known.images:
            wanted = [i for i in known.by_image[image.id] if not i.is_crowd and not (things_only and i.is_stuff)]
            whole = [_Whole(i.id, i.modal, i.amodal) for i in wanted if i.modal and i.amodal]
            tally["without_both_masks"] += len(wanted) - len(whole)
            if whole and not source.covers(image.id, whole):
                tally["photos_without_labels"] += 1
            elif whole:
                tally["photos"] += 1
                tally["instances"] += len(whole)
                for instance in whole:
                    digest.add(image.id, instance.id)
                by_masks, by_depth = _order_of_image(whole, source, image.id, gap_px, truth, depth[image.id])
                for row in by_masks:
                    rows[row].append(by_masks[row])
                    annotated[row].append(by_depth[row])
            advance(1)
    if not rows:
        raise DataError(f"{source.path}: expected the image and annotation ids of {truth}, found none of them")
    return CountedOrders(rows, annotated, tally, digest, source.path, source.what)


@dataclass(frozen=True)
class _Whole:
    """An instance of the truth with both masks."""

    id: int
    modal: Rle
    amodal: Rle


@dataclass(frozen=True)
class _FileOrder:
    """The order that `amodalpl pseudolabel` recovered: image id -> (front, back) annotation ids -> evidence."""

    path: Path
    by_image: dict[int, dict[IndexPair, float]]
    what: str = ORDER

    def check_ids(self, known: set[int], truth: Path) -> None:
        pairs = [pair for pairs in self.by_image.values() for pair in pairs]
        if pairs and not any(a in known or b in known for a, b in pairs):
            raise DataError(
                f"{self.path}: expected pairs of annotation ids of {truth}, found none of {len(pairs)} pairs there; "
                "is it of other photos?"
            )

    def covers(self, image_id: int, instances: list[_Whole]) -> bool:
        return image_id in self.by_image

    def order(
        self, image_id: int, instances: list[_Whole], modal: BoxedMasks, gap_px: int
    ) -> tuple[set[IndexPair], set[IndexPair]]:
        """Return the one-way and the directed order, by index into `instances`."""
        index = {instance.id: n for n, instance in enumerate(instances)}
        pairs = self.by_image[image_id].items()
        evidence = {(index[a], index[b]): weight for (a, b), weight in pairs if a in index and b in index}
        return ordering.make_one_way(evidence), set(evidence)


@dataclass(frozen=True)
class _MaskOrder:
    """The order that amodal masks imply, found as that of the truth is."""

    path: Path
    amodal: dict[int, Rle]
    what: str = "amodal masks"

    def covers(self, image_id: int, instances: list[_Whole]) -> bool:
        return any(i.id in self.amodal for i in instances)

    def order(
        self, image_id: int, instances: list[_Whole], modal: BoxedMasks, gap_px: int
    ) -> tuple[set[IndexPair], set[IndexPair]]:
        """Return the one-way and the directed order, by index into `instances`."""
        found = [BoxedMask.nothing(modal.size_hw)] * len(modal)
        for n, instance in enumerate(instances):
            if instance.id in self.amodal:
                found[n] = boxed.decode(self.amodal[instance.id])
                if found[n].size_hw != modal.size_hw:
                    raise DataError(
                        f"{self.path}: annotation {instance.id}: expected a mask of {modal.size_hw} (height, width) "
                        f"as in the truth, got {found[n].size_hw}; both files must be of the same photos"
                    )
        amodal = BoxedMasks(found, modal.size_hw)
        return ordering.one_way_order_from_masks(modal, amodal), ordering.order_from_masks(modal, amodal, gap_px)


def _order_of_image(
    instances: list[_Whole],
    source: _FileOrder | _MaskOrder,
    image_id: int,
    gap_px: int,
    truth: Path,
    annotated: list[IndexPair],
) -> tuple[dict[str, ordering.OrderCounts], dict[str, ordering.OrderCounts]]:
    """Return for each row the counts against the order of masks, and against annotated depth."""
    sizes = {tuple(mask["size"]) for i in instances for mask in (i.modal, i.amodal)}
    if len(sizes) > 1:
        raise DataError(f"{truth}: image {image_id}: expected masks of one size, got {sorted(sizes)}")
    (size,) = sizes
    size_hw = (size[0], size[1])
    modal = BoxedMasks((boxed.decode(i.modal) for i in instances), size_hw)
    amodal = BoxedMasks((boxed.decode(i.amodal) for i in instances), size_hw)
    count_by_masks = ordering.counting_by_masks(modal, amodal, gap_px)
    index = {instance.id: n for n, instance in enumerate(instances)}
    depth = {(index[a], index[b]) for a, b in annotated if a in index and b in index}
    one_way_depth = ordering.one_way_order_from_depth(depth)
    near = near_pairs(modal, gap_px)
    rows = {name: (order, order) for name, order in ((n, rule(modal, near)) for n, rule in baselines.ORDER.items())}
    rows[LABELS] = source.order(image_id, instances, modal, gap_px)
    by_masks = {name: count_by_masks(*orders) for name, orders in rows.items()}
    by_depth = {
        name: ordering.count_image(len(instances), one_way_depth, depth, *orders) for name, orders in rows.items()
    }
    return by_masks, by_depth


def _by_image(known: AnnotationSet) -> dict[int, list[IndexPair]]:
    """Return the annotated pairs, (front, back) annotation ids, of each photo."""
    image_of = {instance.id: instance.image_id for instance in known.instances}
    pairs: dict[int, list[IndexPair]] = defaultdict(list)
    for front, back in known.front_of:
        pairs[image_of[front]].append((front, back))
    return pairs


def _read_order(labels: Path) -> _FileOrder | _MaskOrder:
    order_file = labels / ORDER if labels.is_dir() else labels.with_name(ORDER)
    if labels.name == ORDER or (order_file.is_file() and (labels.is_dir() or labels.name == LABEL_FILE)):
        return _FileOrder(order_file, _parse_order(order_file, read_json(order_file, "an order file")))
    file = label_file(labels)
    masks = ((i.id, i.amodal or i.modal) for i in read_annotations(file).instances if not i.is_crowd)
    found = {annotation_id: mask for annotation_id, mask in masks if mask}
    return _MaskOrder(file, found)


def _parse_order(path: Path, content: Any) -> dict[int, dict[IndexPair, float]]:
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{path}: expected an object with a list `images`; see `amodalpl pseudolabel`")
    by_image: dict[int, dict[IndexPair, float]] = {}
    for n, entry in enumerate(content["images"]):
        try:
            pairs = {(int(p["front"]), int(p["back"])): float(p["evidence_px"]) for p in entry["pairs"]}
            by_image[int(entry["image_id"])] = pairs
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: images[{n}]: expected `image_id` and `pairs` of `front`, `back`, `evidence_px`, "
                f"got something else ({type(error).__name__}: {error})"
            ) from None
    return by_image
