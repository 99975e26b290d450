"""Pascal VOC: what the corpus in `tests/files` does not hold."""

import pytest
from PIL import Image

from amodalpl.convert import voc
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
