"""Every format and spelling, from small files written after the formats' descriptions."""

import gc
import json

import numpy as np
import pytest

from amodalpl.data.mask_parsing import CompressedRuns, read_masks
from amodalpl.data.read import detect_format, read_annotations
from amodalpl.data.records import reason_kind
from amodalpl.errors import DataError, SettingsError
from amodalpl.masks import rle

HEIGHT, WIDTH = 20, 30
IMAGES = [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH, "license": 3}]
CATEGORIES = [{"id": 5, "name": "cup", "supercategory": "kitchen"}]


def rectangle(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return mask


def polygon(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def run_lengths(mask):
    """Count column by column, zeros first, as COCO's uncompressed RLE does."""
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *counts] if flat[0] else counts


def compressed(mask):
    return rle.to_json(rle.encode(mask))


def uncompressed(mask):
    return {"size": [HEIGHT, WIDTH], "counts": run_lengths(mask)}


def annotation(annotation_id=1, **fields):
    return {"id": annotation_id, "image_id": 7, "category_id": 5, "iscrowd": 0, **fields}


def write(tmp_path, annotations, **top):
    file = tmp_path / "file.json"
    file.write_text(
        json.dumps({"images": IMAGES, "categories": CATEGORIES, "annotations": annotations, **top}), encoding="utf-8"
    )
    return file


def read_one(file, fmt="auto"):
    records = read_annotations(file, fmt)
    assert records.dropped == []
    (instance,) = records.instances
    return records, instance


def same(mask_rle, mask):
    return np.array_equal(rle.decode(mask_rle), mask)


class TestCoco:
    @pytest.mark.parametrize(
        "segmentation",
        [
            pytest.param([polygon(3, 4, 10, 6)], id="polygon"),
            pytest.param(polygon(3, 4, 10, 6), id="flat polygon"),
            pytest.param([polygon(3, 4, 5, 6), polygon(8, 4, 5, 6)], id="two polygons"),
            pytest.param(compressed(rectangle(3, 4, 10, 6)), id="compressed"),
            pytest.param(uncompressed(rectangle(3, 4, 10, 6)), id="uncompressed"),
        ],
    )
    def test_every_spelling_gives_the_same_rectangle(self, tmp_path, segmentation):
        records, instance = read_one(write(tmp_path, [annotation(segmentation=segmentation)]))
        assert records.format == "coco"
        assert same(instance.modal, rectangle(3, 4, 10, 6))
        assert instance.modal["size"] == [HEIGHT, WIDTH]
        assert instance.amodal is None
        assert (instance.id, instance.image_id, instance.category_id, instance.place) == (1, 7, 5, "annotations[0]")

    def test_images_and_categories_are_carried_over_untouched(self, tmp_path):
        file = write(tmp_path, [annotation(segmentation=[polygon(0, 0, 5, 5)])], info={"year": 2017}, licenses=[])
        records = read_annotations(file)
        assert records.images[0].raw == IMAGES[0]
        assert records.images[0].size_hw == (HEIGHT, WIDTH)
        assert records.categories == CATEGORIES
        assert records.raw == {"info": {"year": 2017}, "licenses": []}

    def test_crowd_is_the_flag_and_not_the_spelling(self, tmp_path):
        mask = uncompressed(rectangle(0, 0, 4, 4))
        file = write(tmp_path, [annotation(1, segmentation=mask, iscrowd=1), annotation(2, segmentation=mask)])
        assert [instance.is_crowd for instance in read_annotations(file).instances] == [True, False]

    def test_polygon_that_sticks_out_is_cut_at_the_frame(self, tmp_path):
        _, instance = read_one(write(tmp_path, [annotation(segmentation=[polygon(-5, -5, 9, 8)])]))
        assert same(instance.modal, rectangle(0, 0, 4, 3))

    def test_random_masks_survive_both_run_length_spellings(self, tmp_path):
        rng = np.random.default_rng(0)
        masks = [rng.random((HEIGHT, WIDTH)) < share for share in rng.uniform(0.01, 0.99, 30)]
        spelled = [spell(mask) for mask in masks for spell in (compressed, uncompressed)]
        file = write(tmp_path, [annotation(i, segmentation=s) for i, s in enumerate(spelled)])
        records = read_annotations(file)
        assert len(records.instances) == 60
        for index, instance in enumerate(records.instances):
            assert same(instance.modal, masks[index // 2])

    def test_a_file_without_annotations_has_no_instances(self, tmp_path):
        records = read_annotations(write(tmp_path, []))
        assert records.instances == [] and records.by_image == {7: []}


class TestKins:
    def test_2019(self, tmp_path):
        parts = [polygon(2, 2, 4, 8), polygon(10, 2, 4, 8)]  # several amodal polygons
        file = write(tmp_path, [annotation(inmodal_seg=compressed(rectangle(2, 2, 4, 8)), segmentation=parts)])
        records, instance = read_one(file)
        assert records.format == "kins"
        assert same(instance.modal, rectangle(2, 2, 4, 8))
        assert same(instance.amodal, rectangle(2, 2, 4, 8) | rectangle(10, 2, 4, 8))

    def test_2020(self, tmp_path):
        file = write(
            tmp_path,
            [annotation(i_segm=compressed(rectangle(2, 2, 4, 8)), a_segm=compressed(rectangle(2, 2, 9, 8)))],
        )
        records, instance = read_one(file)
        assert records.format == "kins2020"
        assert same(instance.modal, rectangle(2, 2, 4, 8))
        assert same(instance.amodal, rectangle(2, 2, 9, 8))


class TestD2sa:
    def test_label_file_of_this_project(self, tmp_path):
        label = annotation(
            segmentation=compressed(rectangle(1, 1, 8, 8)),
            bbox=[1, 1, 8, 8],
            area=64,
            visible_mask=compressed(rectangle(1, 1, 8, 4)),
            visible_bbox=[1, 1, 8, 4],
            occlude_rate=0.5,
            amodalpl={"completer": "asbu", "occluders": [], "uncertainty": 0.1, "growth": 2.0, "flags": []},
        )
        records, instance = read_one(write(tmp_path, [label]))
        assert records.format == "d2sa"
        assert same(instance.modal, rectangle(1, 1, 8, 4))
        assert same(instance.amodal, rectangle(1, 1, 8, 8))

    def test_an_object_without_visible_mask_is_fully_visible(self, tmp_path):
        hidden = annotation(
            1, segmentation=[polygon(0, 0, 8, 8)], visible_mask=compressed(rectangle(0, 0, 8, 2)), isStuff=1
        )
        free = annotation(2, segmentation=[polygon(9, 9, 8, 8)])
        first, second = read_annotations(write(tmp_path, [hidden, free])).instances
        assert first.is_stuff and not second.is_stuff
        assert second.modal is second.amodal and same(second.modal, rectangle(9, 9, 8, 8))

    def test_read_as_coco_takes_the_whole_mask(self, tmp_path):
        file = write(
            tmp_path,
            [annotation(segmentation=[polygon(0, 0, 8, 8)], visible_mask=compressed(rectangle(0, 0, 8, 2)))],
        )
        records, instance = read_one(file, fmt="coco")
        assert records.format == "coco"
        assert same(instance.modal, rectangle(0, 0, 8, 8)) and instance.amodal is None


def region(segmentation, **fields):
    return {"segmentation": segmentation, "name": "thing", "area": 1, "isStuff": 0, "occlude_rate": 0, **fields}


def record(image_id, regions, **fields):
    return {
        "image_id": image_id,
        "id": 900,
        "author": "x",
        "size": len(regions),
        "regions": regions,
        **fields,
    }


class TestCocoa:
    def test_full_release_is_matched_by_image_id(self, tmp_path):
        images = [
            {"id": 1, "file_name": "one.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": "two.jpg", "height": HEIGHT, "width": WIDTH},
        ]
        back = region(polygon(0, 0, 9, 9), visible_mask=compressed(rectangle(0, 0, 9, 4)))
        front, sky = region(polygon(0, 4, 9, 9)), region(polygon(20, 0, 5, 5), isStuff=1)
        records = [record(2, [front, back], depth_constraint="1-2"), record(1, [sky])]  # not in the order of images
        file = tmp_path / "cocoa.json"
        file.write_text(json.dumps({"images": images, "annotations": records}), encoding="utf-8")
        read = read_annotations(file)
        assert read.format == "cocoa" and read.dropped == []
        assert [(i.id, i.image_id, i.is_stuff) for i in read.instances] == [(1, 2, False), (2, 2, False), (3, 1, True)]
        assert read.front_of == [(1, 2)]
        assert same(read.instances[0].modal, rectangle(0, 4, 9, 9))  # no visible_mask: fully visible
        assert same(read.instances[1].modal, rectangle(0, 0, 9, 4))
        assert same(read.instances[1].amodal, rectangle(0, 0, 9, 9))
        assert read.instances[1].place == "annotations[0].regions[1]"
        assert read.categories == [{"id": 1, "name": "object"}]

    def test_lone_record_is_named_by_its_url_and_sized_by_its_masks(self, tmp_path):
        file = tmp_path / "3.json"
        mask = compressed(rectangle(0, 0, 4, 4))
        url = "https://host/coco/COCO_val2014_000000000042.jpg"
        file.write_text(json.dumps(record(42, [region(polygon(0, 0, 9, 9), visible_mask=mask)], url=url)))
        (image,) = read_annotations(file).images
        assert (image.id, image.file_name, image.size_hw) == (42, "COCO_val2014_000000000042.jpg", (HEIGHT, WIDTH))
        (tmp_path / "3.jpg").write_bytes(b"")
        assert read_annotations(file).images[0].file_name == "3.jpg"
        (tmp_path / "COCO_val2014_000000000042.jpg").write_bytes(b"")
        assert read_annotations(file).images[0].file_name == "COCO_val2014_000000000042.jpg"

    def test_folder_of_records_counts_ids_on(self, tmp_path):
        mask = compressed(rectangle(0, 0, 4, 4))
        for image_id in (1, 2):
            regions = [region(polygon(0, 0, 9, 9), visible_mask=mask), region(polygon(12, 0, 9, 9))]
            (tmp_path / f"{image_id}.json").write_text(
                json.dumps(record(image_id, regions, url=f"http://h/{image_id}.jpg"))
            )
        (tmp_path / "other.json").write_text("{}")
        read = read_annotations(tmp_path)
        assert [(i.id, i.image_id, i.place) for i in read.instances] == [
            (1, 1, "1.json.regions[0]"),
            (2, 1, "1.json.regions[1]"),
            (3, 2, "2.json.regions[0]"),
            (4, 2, "2.json.regions[1]"),
        ]
        assert [(entry.place, reason_kind(entry.reason)) for entry in read.dropped] == [
            ("other.json", "not a COCOA record")
        ]

    def test_list_of_records(self, tmp_path):
        file = tmp_path / "list.json"
        mask = compressed(rectangle(0, 0, 4, 4))
        file.write_text(json.dumps([record(i, [region(mask)], url=f"http://h/{i}.jpg") for i in (4, 3)]))
        assert [image.file_name for image in read_annotations(file).images] == ["4.jpg", "3.jpg"]

    @pytest.mark.parametrize("constraint", ["1-3", "0-1", "1-0", "1", "1-1", "a-b", [1, 2]], ids=str)
    def test_malformed_order_is_listed(self, tmp_path, constraint):
        file = tmp_path / "1.json"
        regions = [region(compressed(rectangle(0, 0, 4, 4))), region(polygon(9, 9, 5, 5))]
        file.write_text(json.dumps(record(1, regions, url="http://h/1.jpg", depth_constraint=constraint)))
        read = read_annotations(file)
        assert len(read.instances) == 2 and read.front_of == []
        assert [(e.place, reason_kind(e.reason)) for e in read.dropped] == [("depth_constraint", "malformed order")]

    def test_second_record_of_a_photo_is_listed(self, tmp_path):
        regions = [region(polygon(0, 0, 9, 9))]
        file = write(tmp_path, [record(7, regions), record(7, regions)])
        read = read_annotations(file)
        assert len(read.instances) == 1
        assert [e.reason for e in read.dropped] == ["second record of a photo: image 7 has one before"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(record(1, []), r"url: expected the photo's address, got NoneType", id="no url"),
            pytest.param(
                record(1, [], url="http://h/x.jpg"),
                r"regions: expected an RLE that tells the photo's size, or the photo x.jpg beside",
                id="no size",
            ),
            pytest.param(
                record("1", [], url="http://h/x.jpg"), r"image_id: expected a whole number as id, got '1'", id="text id"
            ),
            pytest.param(
                [record(1, [region(compressed(rectangle(0, 0, 2, 2)))], url="http://h/x.jpg")] * 2,
                r"image_id: expected one record per photo, got two of 1",
                id="two records",
            ),
        ],
    )
    def test_records_that_cannot_be_placed(self, tmp_path, content, message):
        file = tmp_path / "r.json"
        file.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            read_annotations(file)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match="expected an annotation file, or a folder of COCOA records"):
            read_annotations(tmp_path)

    def test_other_files_are_not_read_as_cocoa(self, tmp_path):
        with pytest.raises(DataError, match="expected a COCOA file, whose annotations have `regions`"):
            read_annotations(write(tmp_path, [annotation(segmentation=[polygon(0, 0, 5, 5)])]), fmt="cocoa")


class TestFormatChoice:
    @pytest.mark.parametrize(
        ("data", "fmt"),
        [
            ({"annotations": [{"segmentation": []}]}, "coco"),
            ({"annotations": [{"segmentation": []}, {"inmodal_seg": {}}]}, "kins"),
            ({"annotations": [{"a_segm": {}}]}, "kins2020"),
            ({"annotations": [{"visible_mask": {}}]}, "d2sa"),
            ({"annotations": [{"regions": []}]}, "cocoa"),
            ({"regions": []}, "cocoa"),
            ([{"regions": []}], "cocoa"),
            (None, "coco"),
            ({"annotations": 3}, "coco"),
        ],
    )
    def test_detection(self, data, fmt):
        assert detect_format(data) == fmt

    def test_unknown_format(self, tmp_path):
        with pytest.raises(SettingsError, match="got 'coca'; did you mean 'coco"):
            read_annotations(tmp_path / "x.json", fmt="coca")

    def test_folder_of_another_format(self, tmp_path):
        with pytest.raises(DataError, match="expected one kins file, got a folder"):
            read_annotations(tmp_path, fmt="kins")

    def test_wrong_format_names_the_missing_key(self, tmp_path):
        file = write(tmp_path, [annotation(segmentation=[polygon(0, 0, 5, 5)])])
        with pytest.raises(DataError, match=r"annotations\[0\].inmodal_seg: expected polygons or RLE, found none"):
            read_annotations(file, fmt="kins")


class TestCompressedRuns:
    def test_hand_computed_text(self):
        # 5 = "5"; 3 = "3"; 40 = 8 + 32 more, 1 -> chr(48 + 40), "1"; the 4th count 5 is written as 5 - 3 = 2
        runs = CompressedRuns([b"53X12"])
        assert runs.counts_of(0) == [5, 3, 40, 5]
        assert (runs.total_px[0], runs.area_px[0], runs.readable[0]) == (53, 8, True)

    def test_negative_difference(self):
        # counts 4, 9, 4, 2: the 4th is 2 - 9 = -7 -> 5 bits 11001 = 25 -> "I"
        assert CompressedRuns([b"494I"]).counts_of(0) == [4, 9, 4, 2]

    def test_many_agree_with_pycocotools(self):
        rng = np.random.default_rng(3)
        masks = [rng.random(rng.integers(1, 30, 2)) < rng.random() for _ in range(200)]
        masks.append(np.kron(rng.random((4, 4)) < 0.5, np.ones((300, 200), dtype=bool)))
        runs = CompressedRuns([rle.encode(mask)["counts"] for mask in masks])
        assert runs.readable.all() and not runs.has_empty_runs.any()
        assert runs.total_px.tolist() == [mask.size for mask in masks]
        assert runs.area_px.tolist() == [mask.sum() for mask in masks]

    def test_a_bad_text_does_not_touch_its_neighbours(self):
        good = rle.encode(rectangle(3, 3, 5, 5))["counts"]
        runs = CompressedRuns([good, b"0o", good, b"\x7f", good, b"ooooooooooo0", good])
        assert runs.readable.tolist() == [True, False, True, False, True, False, True]
        assert runs.area_px[[0, 2, 4, 6]].tolist() == [25] * 4

    def test_damaged_texts_never_give_a_mask_of_another_size(self):
        rng = np.random.default_rng(4)
        text = rle.encode(rng.random((HEIGHT, WIDTH)) < 0.3)["counts"].decode()
        damaged = []
        for _ in range(500):
            at = int(rng.integers(len(text)))
            damaged.append(text[:at] + chr(int(rng.integers(1, 128))) + text[at + int(rng.integers(0, 2)) :])
        values = [{"size": [HEIGHT, WIDTH], "counts": counts} for counts in damaged]
        for mask in read_masks(values, [(HEIGHT, WIDTH)] * len(values)):
            if isinstance(mask, str):
                assert mask.startswith(("corrupt RLE", "empty mask"))
            else:
                assert rle.decode(mask).shape == (HEIGHT, WIDTH)

    def test_empty_runs_are_joined(self):
        # two true columns parted by an empty run, and an empty run at the end
        counts = [HEIGHT, HEIGHT, 0, HEIGHT, HEIGHT * (WIDTH - 3), 0]
        (mask,) = read_masks([{"size": [HEIGHT, WIDTH], "counts": counts}], [(HEIGHT, WIDTH)])
        assert mask == rle.encode(rectangle(1, 0, 2, HEIGHT))
        # 20, 20, 0, 20 - 20 = 0, 540 - 0, 0 - 20, written out by hand
        (mask,) = read_masks([{"size": [HEIGHT, WIDTH], "counts": "d0d000l`0\\O"}], [(HEIGHT, WIDTH)])
        assert mask == rle.encode(rectangle(1, 0, 2, HEIGHT))


BOXED = {
    "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 60}],
    "categories": [{"id": 1, "name": "cup"}],
}
BOXES = {  # format, what an entry has, its visible and its whole box
    "coco": ({"bbox": [1, 2, 10, 12], "segmentation": []}, (1, 2, 10, 12), None),
    "coco with whole boxes": (
        {"bbox": [1, 2, 10, 12], "amodal_bbox": ["1", 2, 20, 12.5]},
        (1, 2, 10, 12),
        (1, 2, 20, 12.5),
    ),
    "kins": ({"inmodal_seg": [], "inmodal_bbox": [1, 2, 3, 4], "bbox": [1, 2, 9, 4]}, (1, 2, 3, 4), (1, 2, 9, 4)),
    "kins2020": ({"i_segm": None, "i_bbox": [1, 2, 3, 4], "a_bbox": [0, 2, 9, 4]}, (1, 2, 3, 4), (0, 2, 9, 4)),
    "d2sa": ({"visible_mask": None, "visible_bbox": [1, 2, 3, 4], "bbox": [1, 2, 9, 4]}, (1, 2, 3, 4), (1, 2, 9, 4)),
}


@pytest.mark.parametrize(("entry", "modal", "amodal"), BOXES.values(), ids=BOXES.keys())
def test_boxes_without_masks_are_read_when_they_are_asked_for(tmp_path, entry, modal, amodal):
    (tmp_path / "a.json").write_text(
        json.dumps({**BOXED, "annotations": [{"id": 5, "image_id": 1, "category_id": 1, **entry}]})
    )
    [instance] = read_annotations(tmp_path / "a.json", boxes=True).instances
    assert (instance.modal_box_xywh, instance.amodal_box_xywh) == (modal, amodal)
    assert instance.modal is instance.amodal is None
    with pytest.raises(DataError, match="none of the 1 annotations has a mask"):
        read_annotations(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bbox": [1, 2, 0, 4]}, "empty box"),
        ({"bbox": [1, 2, -3, 4]}, "empty box"),
        ({"bbox": [60, 2, 3, 4]}, "box outside the photo"),
        ({"bbox": [0.1, 0.2, 0.3, 0.4]}, "box in fractions"),
        ({"bbox": [1, 2, 3]}, "malformed box"),
        ({"bbox": [1, 2, 3, None]}, "malformed box"),
        ({"bbox": [10, 10, 20, 20], "amodal_bbox": [12, 10, 20, 20]}, "whole box smaller than the visible one"),
    ],
)
def test_bad_boxes_are_dropped_with_a_reason(tmp_path, fields, reason):
    entries = [
        {"id": n, "image_id": 1, "category_id": 1, **given} for n, given in enumerate([{"bbox": [1, 1, 5, 5]}, fields])
    ]
    (tmp_path / "a.json").write_text(json.dumps({**BOXED, "annotations": entries}))
    records = read_annotations(tmp_path / "a.json", boxes=True)
    assert [instance.id for instance in records.instances] == [0]
    assert [(entry.annotation_id, reason_kind(entry.reason)) for entry in records.dropped] == [(1, reason)]


def test_boxes_with_swapped_corners_are_called_so_and_neither_mask_nor_box_ends_it(tmp_path):
    entry = {"id": 1, "image_id": 1, "category_id": 1}
    (tmp_path / "a.json").write_text(json.dumps({**BOXED, "annotations": [{**entry, "bbox": [9, 9, -3, -4]}]}))
    [dropped] = read_annotations(tmp_path / "a.json", boxes=True).dropped
    assert dropped.reason.endswith("got [9, 9, -3, -4] (corners swapped?)")
    (tmp_path / "a.json").write_text(json.dumps({**BOXED, "annotations": [entry]}))
    with pytest.raises(DataError, match="none of the 1 annotations has a mask or a box, export one of them"):
        read_annotations(tmp_path / "a.json", boxes=True)


def test_a_bad_box_costs_no_mask(tmp_path):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [[1, 1, 9, 1, 9, 9]]}
    (tmp_path / "a.json").write_text(json.dumps({**BOXED, "annotations": [entry]}))
    records = read_annotations(tmp_path / "a.json", boxes=True)
    assert not records.dropped and records.instances[0].modal_mask is not None
    assert records.instances[0].modal_box_xywh is None


def test_what_labels_note_is_read_with_their_boxes(tmp_path):
    mask = {"size": [40, 60], "counts": [0, 80, 2320]}
    notes = {"uncertainty": 0.25, "occluders": [7, 9]}
    entry = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": mask, "visible_mask": mask, "amodalpl": notes}
    (tmp_path / "a.json").write_text(json.dumps({**BOXED, "annotations": [entry]}))
    [instance] = read_annotations(tmp_path / "a.json", boxes=True).instances
    assert (instance.uncertainty, instance.occluders, rle.area_px(instance.modal)) == (0.25, (7, 9), 80)


def test_polygons_read_together_are_those_read_alone():
    rng = np.random.default_rng(8)
    sizes = [(20, 30), (40, 50)]
    values, sizes_hw = [], []
    for number in range(300):
        points = rng.uniform(-10, 60, (rng.integers(3, 9), 2)).round(1)
        parts = [points.reshape(-1).tolist() for _ in range(rng.integers(1, 3))]
        values.append(parts)
        sizes_hw.append(sizes[number % 2])
    for at, bad in {
        3: [[1, 1, 5, 5]],
        4: [[1, 2, 3, 4, 5]],
        90: [["1", 2, 3, 4, 5, 6]],
        91: [[True, 2, 3, 4, 5, 6]],
        92: [[1, 2, 3, 4, 5, 6], {}],
        93: [[]],
        150: [[1e308, -1e308, 3, 4, 5, 6]],
        151: [[10**400, 2, 3, 4, 5, 6]],
        152: [[float("nan"), 2, 3, 4, 5, 6]],
        299: [[200, 200, 205, 200, 205, 205]],
    }.items():
        values[at] = bad
    together = read_masks(values, sizes_hw)
    assert together == [read_masks([value], [size_hw])[0] for value, size_hw in zip(values, sizes_hw, strict=True)]
    reasons = [mask for mask in together if isinstance(mask, str)]
    assert len(reasons) >= 10 and all(
        isinstance(together[at], str) for at in (3, 4, 90, 91, 92, 93, 150, 151, 152, 299)
    )
    for mask, value, size_hw in zip(together, values, sizes_hw, strict=True):
        if not isinstance(mask, str):
            assert mask == rle.from_polygons(value, size_hw)


def test_a_large_file_is_read_with_helpers_and_is_the_same(tmp_path, monkeypatch):
    spellings = [
        [polygon(3, 4, 10, 6)],
        compressed(rectangle(1, 1, 5, 5)),
        [polygon(90, 90, 2, 2)],
        [[1, 1, 2, 2]],
        None,
    ]
    entries = [annotation(k, segmentation=spellings[k % 5]) for k in range(1, 40)]
    file = write(tmp_path, entries)
    alone = read_annotations(file)
    monkeypatch.setattr("amodalpl.data.read.LARGE_BYTES", 1)
    monkeypatch.setattr("amodalpl.data.coco_parsing.ENTRIES_AT_ONCE", 7)
    helped = read_annotations(file)
    assert (helped.instances, helped.dropped) == (alone.instances, alone.dropped)
    assert len(alone.instances) == 15 and len(alone.dropped) == 24


def test_the_search_for_cycles_goes_on_after_reading(tmp_path):
    assert gc.isenabled()
    read_one(write(tmp_path, [annotation(segmentation=[polygon(3, 4, 10, 6)])]))
    assert gc.isenabled()
    with pytest.raises(DataError, match="no such file"):
        read_annotations(tmp_path / "gone.json")
    assert gc.isenabled()
