"""`amodalpl explain`: the page of protocols, asked by a name."""

from importlib.resources import files

from typer.testing import CliRunner

from amodalpl_cli.explain import read_passages
from amodalpl_cli.main import app

PAGE = """# Scores

P is a predicted mask. Other words.

## Completion

**`first (Paper)`**: what it is.

- `miou` = sum |P|
- `other_score`, of which P is a part

**`second one`**: `lonely`.
"""


def invoke(*args):
    return CliRunner().invoke(app, ["explain", *args])


def test_each_item_belongs_to_the_protocol_above_it():
    passages = {tuple(sorted(p.names)): p for p in read_passages(PAGE)}
    assert passages["miou",].protocols == ("first (Paper)",)
    assert passages["miou",].section == "Completion"
    assert passages["lonely",].protocols == ("second one",)
    assert next(read_passages(PAGE)).protocols == ()


def test_a_score_is_explained_under_its_protocol_with_the_meaning_of_the_letters():
    text = invoke("invisible_miou").stdout
    assert text.startswith("completion, micro (PCNet/ASBU)\n")
    assert "sum |P ∧ G ∧ ¬M| / sum |(P ∨ G) ∧ ¬M|" in text and "P is a predicted amodal mask" in text
    assert "pixel_accuracy" not in text


def test_spaces_and_capitals_do_not_matter():
    assert invoke("Invisible MIOU").stdout == invoke("invisible_miou").stdout


def test_a_protocol_is_explained_with_all_of_its_scores():
    text = invoke("O-Acc").stdout
    assert "order, O-Acc (PCNet/ASBU)" in text and "accuracy_all_pairs" in text and "miou" not in text


def test_without_a_name_every_protocol_is_listed():
    text = invoke().stdout
    page = (files("amodalpl_docs") / "protocols.md").read_text(encoding="utf-8")
    protocols = {name for p in read_passages(page) for name in p.protocols}
    assert len(protocols) > 10 and all(name in text.splitlines() for name in protocols)


def test_a_misspelt_name_is_one_line_with_the_nearest():
    result = invoke("invisible_muou")
    assert result.exit_code == 2
    assert result.stderr == ("error: no score of that name: 'invisible_muou'; did you mean 'invisible_miou'?\n")


def test_an_empty_name_lists_all_too():
    assert CliRunner().invoke(app, ["explain", " "]).stdout == CliRunner().invoke(app, ["explain"]).stdout
