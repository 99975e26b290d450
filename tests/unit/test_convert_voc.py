"""Pascal VOC: what the corpus in `tests/files` does not hold."""

import numpy as np
import pytest
from PIL import Image

from amodalpl.convert import voc
from amodalpl.convert.format_table import reader
from amodalpl.errors import DataError

BOX = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>20</ymax></bndbox>"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def write(folder, name, *objects, filename="a.png"):
    file = folder / name
    file.write_text(f"<annotation><filename>{filename}</filename>{''.join(objects)}</annotation>")
    return file


def thing(*parts):
    return f"<object><name>cup</name>{''.join(parts)}{BOX}</object>"


def test_marks_of_objects_become_attributes(tmp_path, photos):
    marked = thing("<truncated>1</truncated><difficult>0</difficult><occluded> 1 </occluded>")
    data = voc.read(write(tmp_path, "a.xml", marked, thing()), photos)
    assert [i.extra for i in data.instances] == [{"attributes": {"truncated": True, "occluded": True}}, {}]
    assert data.instances[0].modal_mask.polygons == ((5, 6, 25, 6, 25, 20, 5, 20),)


def test_points_of_a_polygon_are_in_the_order_of_their_numbers(tmp_path, photos):
    """x10 comes after x9, wherever it stands."""
    points = [(5 + n, 5 + (n * n) % 7) for n in range(11)]
    tags = [f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(points, 1)]
    polygon = f"<polygon>{''.join(sorted(tags))}</polygon>"
    data = voc.read(write(tmp_path, "a.xml", thing(polygon)), photos)
    assert data.instances[0].modal_mask.polygons == (tuple(float(v) for point in points for v in point),)


def test_a_photo_goes_by_the_xml_file_where_none_is_stated(tmp_path, photos):
    write(tmp_path, "b.xml", thing(), filename="")
    assert [i.file_name for i in voc.read(tmp_path / "b.xml", photos).images] == ["b.png"]


@pytest.mark.parametrize("what", ["annotations", "html"])
def test_other_xml_is_left_out_by_name(tmp_path, photos, what):
    write(tmp_path, "a.xml", thing())
    (tmp_path / "z.xml").write_text(f"<{what}/>")
    data = voc.read(tmp_path, photos)
    assert data.left_out == [("z.xml", f"not a Pascal VOC file: expected <annotation>, got <{what}>")]


def test_document_types_are_refused(tmp_path, photos):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match="a document type is not allowed"):
        voc.read(tmp_path / "a.xml", photos)


MAROON, GREEN = (128, 0, 0), (0, 128, 0)  # numbers 1 and 2 of VOC's palette


def write_in_colours(folder, first, second):
    """Write two objects as CVAT and datumaro do, whose masks are in colours."""
    for name in ("Annotations", "SegmentationObject"):
        (folder / name).mkdir()
    other = "<bndbox><xmin>30</xmin><ymin>6</ymin><xmax>50</xmax><ymax>20</ymax></bndbox>"
    write(folder / "Annotations", "a.xml", thing(), f"<object><name>dish</name>{other}</object>")
    masks = np.zeros((40, 60, 3), np.uint8)
    masks[8:18, 7:22], masks[8:18, 32:47] = first, second
    Image.fromarray(masks).save(folder / "SegmentationObject" / "a.png")
    return folder


def test_masks_in_colours_of_vocs_palette(tmp_path, photos):
    data = voc.read(write_in_colours(tmp_path, MAROON, GREEN), photos)
    masks = [instance.modal_mask.pixels((40, 60)) for instance in data.instances]
    boxes = [(x, y, w, h) for x, y, w, h in map(voc.rle.box_xywh, masks)]
    assert boxes == [(7, 8, 15, 10), (32, 8, 15, 10)] and not data.left_out


@pytest.mark.parametrize("colours", [(MAROON, (1, 2, 3)), ((0, 0, 0), (0, 0, 0))], ids=["others", "only black"])
def test_other_colours_are_no_numbers(tmp_path, photos, colours):
    (_, reason), *_ = voc.read(write_in_colours(tmp_path, *colours), photos).left_out
    assert reason == "PNG of colours: expected grey or palette pixels, got RGB"


def test_labelme_of_the_web(tmp_path):
    """As LabelMe's server and CVAT's "LabelMe 3.0" write it; a mask in a PNG of its own is not read."""
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 6), (25, 6), (25, 20)))
    polygon = f"<polygon><username>anna</username>{points}</polygon>"
    drawn = f"<object><name>cup</name><deleted>0</deleted>{polygon}</object>"
    deleted = f"<object><name>cup</name><deleted>1</deleted>{polygon}</object>"
    brushed = "<object><name>cup</name><segm><mask>a_mask_2.png</mask></segm></object>"
    size = "<imagesize><nrows>40</nrows><ncols>60</ncols></imagesize>"
    file = write(tmp_path, "a.xml", drawn, size, deleted, brushed)
    assert reader("auto", file).name == "voc"
    data = voc.read(file, None)
    assert [photo.size_hw for photo in data.images] == [(40, 60)]
    assert [i.modal_mask.polygons for i in data.instances] == [((5.0, 6.0, 25.0, 6.0, 25.0, 20.0),)]
    assert [reason for _, reason in data.left_out] == [
        "deleted in LabelMe",
        "not an area: expected a polygon or bndbox",
    ]
