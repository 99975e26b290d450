"""CVAT for images 1.1: a file as CVAT exports it, and back."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from drawn_data_sets import SIZE_HW, box, data_set, described, write_photos

from amodalpl.convert import cvat_xml
from amodalpl.data.records import Instance, Mask
from amodalpl.data.source import Source
from amodalpl.errors import DataError
from amodalpl.masks import rle

META = """<meta><task><id>4</id><name>cups</name><size>1</size><mode>annotation</mode><labels>
<label><name>cup</name><color>#ff0000</color><type>any</type><attributes>
<attribute><name>full</name><mutable>False</mutable><input_type>checkbox</input_type><default_value>false</default_value>
<values>false</values></attribute>
<attribute><name>size</name><mutable>False</mutable><input_type>number</input_type><default_value>1</default_value>
<values>1\n9\n1</values></attribute></attributes></label>
<label><name>dog</name><color>#00ff00</color><type>any</type><attributes></attributes></label>
</labels></task><dumped>2024-01-01 00:00:00.000000+00:00</dumped></meta>"""


def polygon(points="1.00,2.00;5.00,2.00;5.00,6.00;1.00,6.00", z_order=0, label="cup", inside="", more=""):
    return (
        f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="{z_order}" {more}>'
        f"{inside}</polygon>"
    )


def write(folder, *shapes, image='id="0" name="a.png" width="60" height="40"', meta=META):
    file = folder / "annotations.xml"
    body = "".join(shapes)
    file.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}'
        f"<image {image}>{body}</image></annotations>",
        encoding="utf-8",
    )
    return file


def area(thing):
    return rle.area_px(thing.modal_mask.pixels(SIZE_HW))


def test_every_kind_of_shape(tmp_path):
    attributes = '<attribute name="full">true</attribute><attribute name="size">3</attribute>'
    mask = '<mask label="dog" occluded="1" rle="1, 2, 1, 2" left="10" top="20" width="3" height="2" z_order="0"></mask>'
    file = write(
        tmp_path,
        polygon(inside=attributes, more='group_id="3"'),
        '<box label="dog" occluded="0" xtl="4.00" ytl="12.00" xbr="10.00" ybr="20.00" z_order="0" group_id="3"></box>',
        '<box label="cup" occluded="0" xtl="30" ytl="12" xbr="36" ybr="14" rotation="90" z_order="0"></box>',
        '<ellipse label="cup" occluded="0" cx="40" cy="20" rx="8" ry="5" z_order="0"></ellipse>',
        mask,
        '<polyline label="cup" occluded="0" points="1,1;2,2" z_order="0"></polyline>',
        '<tag label="cup" source="manual"></tag>',
    )
    data = cvat_xml.read(file, None)
    assert [category["name"] for category in data.categories] == ["cup", "dog"]
    first, plain, turned, round_, mask = data.instances
    assert first.modal_mask.polygons == ((1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0),)
    assert (first.extra, first.group, plain.group) == ({"attributes": {"full": True, "size": 3}}, 3, 3)
    assert plain.modal_mask.polygons == (box(4, 12, 6, 8),)
    xs, ys = turned.modal_mask.polygons[0][::2], turned.modal_mask.polygons[0][1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == pytest.approx((32, 34, 10, 16))  # about its centre, 33 and 13
    assert area(round_) == pytest.approx(math.pi * 40, rel=0.06)
    assert rle.box_xywh(mask.modal_mask.rle) == (11, 20, 2, 2) and area(mask) == 4
    assert rle.decode(mask.modal_mask.rle)[20:22, 10:13].tolist() == [[False, True, True], [False, True, True]]
    assert mask.extra == {"attributes": {"occluded": True}}
    assert [reason for _, reason in data.left_out] == ["not an area: polyline", "not an area: tag"]


def test_z_order_is_order_in_depth_where_boxes_meet(tmp_path):
    far = "40,20;45,20;45,25"
    file = write(tmp_path, polygon(z_order=1), polygon(z_order=0), polygon(z_order=5), polygon(far, z_order=9))
    assert sorted(cvat_xml.read(file, None).front_of) == [(1, 2), (3, 1), (3, 2)]


def drawn_boxes(count, seed=0, size=1000, side=40):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, size, (count, 2)).tolist()
    sides = rng.integers(1, side, (count, 2)).tolist()
    things = [Instance(n, 1, 1, Mask((box(*corners[n - 1], *sides[n - 1]),))) for n in range(count, 0, -1)]
    return things, {n: int(z) for n, z in enumerate(rng.integers(-2, 3, count), 1)}


@pytest.mark.parametrize("side", [10, 40, 900])
def test_pairs_are_those_of_comparing_every_box_with_every_other(side):
    things, depths = drawn_boxes(60, side=side, size=200)
    depths[7] = 10**30  # as large as a file may say
    expected = []
    corners = {thing.id: np.reshape(thing.modal_mask.polygons[0], (-1, 2)) for thing in things}
    for one in range(1, 61):
        for other in range(one + 1, 61):
            a, b = corners[one], corners[other]
            if (a.min(0) < b.max(0)).all() and (b.min(0) < a.max(0)).all() and depths[one] != depths[other]:
                expected.append((one, other) if depths[one] < depths[other] else (other, one))
    assert expected and cvat_xml.pairs_in_depth(things, depths) == expected


def test_a_line_meets_the_box_that_it_lies_in():
    things = [Instance(n, 1, 1, Mask((ring,))) for n, ring in enumerate((box(2, 2, 0, 5), box(0, 0, 9, 9)), 1)]
    assert cvat_xml.pairs_in_depth(things, {1: 0, 2: 1}) == [(1, 2)]  # a line within: it lies in the open box
    things = [Instance(n, 1, 1, Mask((ring,))) for n, ring in enumerate((box(2, 2, 0, 5), box(2, 0, 9, 9)), 1)]
    assert cvat_xml.pairs_in_depth(things, {1: 0, 2: 1}) == []  # on its edge


def test_few_boxes_are_looked_at_where_few_are_near():
    """10 000 boxes in a row: comparing all of them would be 50 million pairs, and take minutes."""
    things = [Instance(n, 1, 1, Mask((box(10 * n, 0, 15, 5),))) for n in range(1, 10_001)]
    before = time.process_time()
    pairs = cvat_xml.pairs_in_depth(things, {n: n for n in range(1, 10_001)})
    assert pairs == [(n, n + 1) for n in range(1, 10_000)]
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (polygon("1,2;3,4"), "polygon with fewer than 3 points"),
        (polygon("1,2;3,x;4,4"), "malformed outline"),
        (polygon("1,2;3,inf;4,4"), "malformed outline"),
        (polygon("1;2;3"), "malformed outline"),
        (polygon(label=""), "object without a class"),
        ("<cube/>", "unknown kind of shape"),
        ('<mask label="cup" rle="1,7" left="1" top="1" width="3" height="2"/>', "corrupt RLE"),
        ('<mask label="cup" rle="-1,7" left="1" top="1" width="3" height="2"/>', "corrupt RLE"),
        ('<mask label="cup" rle="a" left="1" top="1" width="3" height="2"/>', "malformed mask"),
        ('<mask label="cup" rle="99999999999999999999" left="1" top="1" width="3" height="2"/>', "malformed mask"),
        ('<mask label="cup" rle="0,1" left="1" top="1" width="99999999" height="99999999"/>', "mask larger than"),
        ('<mask label="cup" rle="0,6" left="70" top="1" width="3" height="2"/>', "empty mask"),
        ('<box label="cup" xtl="1" ytl="2" xbr="3"/>', "malformed outline"),
    ],
)
def test_bad_shapes_are_left_out_with_a_reason(bad, reason, tmp_path):
    data = cvat_xml.read(write(tmp_path, polygon(), bad), None)
    assert len(data.instances) == 1
    [(place, why)] = data.left_out
    assert place.startswith("image[0] 'a.png': ") and why.startswith(reason)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ('id="0" name="../a.png" width="60" height="40"', "photo outside the folder"),
        ('id="0" name="a.png" width="60"', "photo of unknown size"),
        ('id="0" width="60" height="40"', "photo without a name"),
    ],
)
def test_bad_photos(image, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        cvat_xml.read(write(tmp_path, polygon(), image=image), None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<annotations><image", "expected a CVAT XML file, got something else"),
        ("<html></html>", "expected CVAT's <annotations>, got <html>"),
        ("<annotations><track id='0'/></annotations>", "got CVAT for video"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "a document type is not allowed"),
        ("<annotations/>", "expected annotated photos"),
    ],
)
def test_bad_files(text, problem, tmp_path):
    (tmp_path / "annotations.xml").write_text(f'<?xml version="1.0"?>{text}')
    with pytest.raises(DataError, match=problem):
        cvat_xml.read(tmp_path / "annotations.xml", None)


def test_an_unpacked_export_is_found_by_its_file(tmp_path):
    with pytest.raises(DataError, match="expected one annotations.xml below it, found 0"):
        cvat_xml.read(tmp_path, None)
    write(tmp_path, polygon())
    assert cvat_xml.detect(Source(tmp_path)) and cvat_xml.detect(Source(tmp_path / "annotations.xml"))
    assert len(cvat_xml.read(tmp_path, None).instances) == 1


def test_round_trip(tmp_path):
    data = data_set()
    data.front_of.append((1, 2))
    losses = cvat_xml.write(data, tmp_path / "out.xml")
    back = cvat_xml.read(tmp_path / "out.xml", write_photos(tmp_path / "photos", data))
    fields = ("group", "is_crowd", "extra")
    assert described(back, *fields, pixels_only=True) == described(data, *fields, pixels_only=True)
    assert back.images == data.images and back.categories == data.categories and back.front_of == data.front_of
    assert losses == {"objects of several polygons, joined by slits": 1}
    whole = [i for i, thing in enumerate(data.instances) if len(thing.modal_mask.polygons) < 2]
    assert [described(back)[i] for i in whole] == [described(data)[i] for i in whole]  # as drawn


def test_an_order_that_z_order_cannot_tell_is_counted(tmp_path):
    data = data_set()
    data.front_of += [(1, 2), (2, 1)]
    assert cvat_xml.write(data, tmp_path / "out.xml")["order in depth, pairs"] == 2
    assert cvat_xml.read(tmp_path / "out.xml", None).front_of == []


def test_names_that_xml_cannot_hold_are_refused(tmp_path):
    data = data_set()
    data.images[0] = replace(data.images[0], file_name="a\x01.png")
    with pytest.raises(DataError, match="without control characters"):
        cvat_xml.write(data, tmp_path / "out.xml")
    assert not (tmp_path / "out.xml").exists()
