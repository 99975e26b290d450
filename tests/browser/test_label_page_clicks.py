"""The report in a real browser, opened from disk."""

import json

import pytest
from drawn_labels import box, label, write_doubt, write_labels, write_order, write_photos
from reloading import reload

from amodalpl.data.review_file import fingerprint, read_review
from amodalpl.masks import rle
from amodalpl.report import gallery
from amodalpl.report.label_page import write_label_page

# id, class, doubt, growth, plausibility, flags; doubts and growths in different orders
ROWS = [
    (1, 1, 0.10, 1.5, 0.9, []),
    (2, 2, 0.40, 1.2, 0.1, ["truncated"]),
    (3, 1, 0.30, 2.0, None, ["low_confidence"]),
    (4, 3, 0.00, 1.0, 0.5, ["no_occluder"]),
]
CLASSES = ("cup", "apple", "<b>bowl</b></script>")


@pytest.fixture
def open_page(browser):
    """Open a page as a visitor who allows downloads; at the end, its console must be empty."""
    said, contexts = [], []

    def act(folder, **options):
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:80]}"))
        page.goto((folder / "report.html").as_uri())
        return page

    yield act
    for context in contexts:
        context.close()
    assert said == []


def rows_as_labels():
    return [
        label(id, growth=growth, uncertainty=doubt, category_id=kind, plausibility=ordinary, flags=flags, occluders=[])
        for id, kind, doubt, growth, ordinary, flags in ROWS
    ]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four labels of one photo: 4 in front of 3, 1 and 2 hiding each other, 1 to 3 in a circle."""
    folder = tmp_path_factory.mktemp("four")
    photos = write_photos(folder / "photos")
    labels = rows_as_labels()
    labels[2]["amodalpl"]["occluders"] = [4]
    write_labels(folder / "labels", labels, categories=CLASSES)
    pairs = [(4, 3), (1, 2), (2, 1), (2, 3), (3, 1)]
    write_order(folder / "labels", pairs, mutual=[(1, 2)], cycles=[(1, 2, 3)])
    write_doubt(folder / "labels", [1, 2, 3])
    write_label_page(folder / "labels", photos, None)
    return folder / "labels"


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    """A hundred labels of two photos, three pages; the larger the id, the less doubtful."""
    folder = tmp_path_factory.mktemp("hundred")
    photos = write_photos(folder / "photos", ("a.png", "b.png"))
    labels = [label(n, image_id=1 + n % 2, uncertainty=1 - n / 200) for n in range(1, 101)]
    write_labels(folder / "labels", labels, ("a.png", "b.png"))
    write_label_page(folder / "labels", photos, None)
    return folder / "labels"


def ids(page):
    return page.locator(".card").evaluate_all("cards => cards.map(card => Number(card.dataset.id))")


def verdict(page, id):
    return page.locator(f'.card[data-id="{id}"]').get_attribute("data-verdict")


def exported(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Save review.json").click()
    assert download.value.suggested_filename == "review.json"
    return download.value.path()


def test_sorting(open_page, four):
    page = open_page(four)
    for order, expected in {
        "growth": [3, 1, 2, 4],
        "class": [4, 2, 3, 1],
        "ordinary": [2, 4, 1, 3],
        "id": [1, 2, 3, 4],
        "uncertainty": [2, 3, 1, 4],
    }.items():
        page.get_by_label("Sort by").select_option(order)
        assert ids(page) == expected, order
    assert page.locator('.card[data-id="4"] strong').text_content() == CLASSES[2]  # names are text
    assert page.locator(".card b").count() == 0


def test_filtering(open_page, four):
    page = open_page(four)
    for control, option, expected in [
        ("#kind", "grown", [2, 3, 1]),
        ("#kind", "drawn", [4]),
        ("#class", "0", [3, 1]),
        ("#flag", "truncated", [2]),
        ("#decision", "accept", []),
        ("#decision", "open", [2, 3, 1, 4]),
    ]:
        page.locator(control).select_option(option)
        assert ids(page) == expected, (control, option)
        assert page.get_by_text("No label passes these filters").is_visible() == (not expected)
        page.locator(control).select_option("")
    for text, expected in [
        ("CUP", [3, 1]),
        ("cup low", [3]),
        ("high uncert", [3]),
        ("a.png", [2, 3, 1, 4]),
        ("</script>", [4]),
        ("x", []),
    ]:
        page.get_by_label("Search").fill(text)
        assert ids(page) == expected, text
    assert page.locator("#place").text_content() == "0 of 4 labels, page 1 of 1"


def test_deciding_by_click_and_what_is_exported(open_page, four):
    page = open_page(four)
    card = page.locator('.card[data-id="3"]')
    card.get_by_role("button", name="Reject").click()
    page.locator('.card[data-id="1"]').get_by_role("button", name="Keep modal").click()
    page.locator('.card[data-id="2"]').get_by_role("button", name="Accept").click()
    page.locator('.card[data-id="2"]').get_by_role("button", name="Accept").click()  # taken back
    assert (verdict(page, 3), verdict(page, 1), verdict(page, 2)) == ("reject", "keep-modal", None)
    assert card.get_by_role("button", name="Reject").get_attribute("aria-pressed") == "true"
    assert "rejected" in card.get_attribute("aria-label")
    assert page.locator("#progress-text").text_content() == "2 of 4 decided: 1 rejected, 1 modal kept"
    review = read_review(exported(page))
    marks = {annotation["id"]: fingerprint(annotation) for annotation in rows_as_labels()}
    assert [(d.id, d.decision, d.fingerprint) for d in review.decisions] == [
        (1, "keep-modal", marks[1]),
        (3, "reject", marks[3]),
    ]
    assert review.labels_sha256 == json.loads(page.locator("#data").text_content())["sha256"]


def test_deciding_by_keys_moves_on_and_can_be_undone(open_page, four):
    page = open_page(four)
    page.keyboard.press("j")  # the first card: 2
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.keyboard.press("ArrowRight")  # past 1, onto 4
    page.keyboard.press("m")
    assert [verdict(page, id) for id in (2, 3, 1, 4)] == ["accept", "reject", None, "keep-modal"]
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert [verdict(page, id) for id in (2, 3, 1, 4)] == ["accept", None, None, None]
    assert page.evaluate("document.activeElement.dataset.id") == "3"
    page.keyboard.press("k")
    page.keyboard.press("a")  # the same again
    assert verdict(page, 2) is None
    page.keyboard.press("/")
    page.keyboard.type("arm")
    assert page.get_by_label("Search").input_value() == "arm"
    assert page.locator("#progress-text").text_content() == "0 of 4 decided"


def test_decisions_survive_loading_the_page_again(open_page, four):
    page = open_page(four)
    page.keyboard.press("j")
    page.keyboard.press("r")
    assert verdict(page, 2) == "reject"
    reload(page)
    assert verdict(page, 2) == "reject"
    assert page.locator("#progress-text").text_content() == "1 of 4 decided: 1 rejected"


def test_the_browser_asks_before_decisions_are_left_that_no_file_has(open_page, four):
    page, asked = open_page(four), []
    page.on("dialog", lambda dialog: asked.append(dialog.type) or dialog.accept())
    page.keyboard.press("j")
    reload(page)
    assert asked == []
    page.keyboard.press("j")
    page.keyboard.press("r")
    reload(page)
    assert asked == ["beforeunload"]
    page.keyboard.press("j")
    page.keyboard.press("a")
    exported(page)
    reload(page)
    assert asked == ["beforeunload"]


def large_folder(tmp_path, review=()):
    """Ids that doubles cannot tell apart: the first two, and the last two."""
    ids = [2**53, 2**53 + 1, 2**63 - 1, 2**63 - 2]
    labels = [label(id, occluders=[other]) for id, other in zip(ids, [ids[1], ids[0], ids[3], ids[2]], strict=True)]
    folder = write_labels(tmp_path, labels)
    write_order(folder, [(ids[1], ids[0])])
    if review:
        entries = [{"id": id, "decision": said, "fingerprint": fingerprint(labels[0])} for id, said in review]
        content = {"format": "amodalpl-review", "version": 1, "labels_sha256": "a" * 64, "decisions": entries}
        (folder / "review.json").write_text(json.dumps(content))
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    return folder, [str(id) for id in ids]


def test_no_digit_of_a_large_id_is_lost(open_page, tmp_path):
    folder, (first, second, third, fourth) = large_folder(tmp_path)
    page = open_page(folder)
    page.get_by_label("Sort by").select_option("id")
    shown = page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.id)")
    assert shown == [first, second, fourth, third]
    page.locator(f'.card[data-id="{second}"]').get_by_role("button", name="Reject").click()
    page.locator(f'.card[data-id="{third}"]').get_by_role("button", name="Accept").click()
    assert [verdict(page, id) for id in (first, second, third, fourth)] == [None, "reject", "accept", None]
    page.get_by_role("button", name=f"Look closer at cup {first}").click()
    detail = page.locator("#detail")
    assert detail.get_by_role("button", name=f"cup #{second}", exact=True).is_visible()  # what it is behind
    assert page.locator(".order .node.here").get_attribute("aria-label") == f"cup {first}, shown"
    page.keyboard.press("Escape")
    reload(page)
    file = exported(page)
    assert [(d.id, d.decision) for d in read_review(file).decisions] == [
        (int(second), "reject"),
        (int(third), "accept"),
    ]
    for id in (second, third):  # taken back, then loaded again
        page.locator(f'.card[data-id="{id}"]').locator('[aria-pressed="true"]').click()
    page.locator("#file").set_input_files(file)
    page.get_by_text("Decisions loaded: 2.").wait_for()
    assert [verdict(page, id) for id in (first, second, third, fourth)] == [None, "reject", "accept", None]


def test_decisions_in_the_folder_go_to_their_own_label(open_page, tmp_path):
    folder, (first, second, *_) = large_folder(tmp_path, [(2**53 + 1, "reject")])
    page = open_page(folder)
    assert [verdict(page, id) for id in (first, second)] == [None, "reject"]


def test_decisions_on_labels_that_are_not_shown_keep_their_ids(open_page, tmp_path, monkeypatch):
    from amodalpl.report import label_page

    monkeypatch.setattr(label_page, "PHOTOS", 1)
    labels = [label(2**53 + 1, image_id=1), label(2**53 + 3, image_id=2)]
    folder = write_labels(tmp_path, labels, ("a.png", "b.png"))
    entries = [{"id": a["id"], "decision": "reject", "fingerprint": fingerprint(a)} for a in labels]
    content = {"format": "amodalpl-review", "version": 1, "labels_sha256": "a" * 64, "decisions": entries}
    (folder / "review.json").write_text(json.dumps(content))
    write_label_page(folder, write_photos(tmp_path / "photos", ("a.png", "b.png")), None)
    page = open_page(folder)
    assert len(page.locator(".card").all()) == 1
    saved = read_review(exported(page))
    assert {d.id for d in saved.decisions} == {2**53 + 1, 2**53 + 3}
    hidden = next(e for e in entries if str(e["id"]) != page.locator(".card").get_attribute("data-id"))
    file = tmp_path / "loaded.json"
    file.write_text(json.dumps({**saved.to_json(), "decisions": [{**hidden, "decision": "keep-modal"}]}))
    page.locator("#file").set_input_files(file)
    page.get_by_text("Decisions loaded: 1.").wait_for()
    reload(page)  # what was loaded is kept, too
    found = {d.id: d.decision for d in read_review(exported(page)).decisions}
    assert found[hidden["id"]] == "keep-modal" and len(found) == 2


def test_no_text_of_a_review_is_taken_for_an_id(open_page, tmp_path):
    folder, ids = large_folder(tmp_path)
    page = open_page(folder)
    odd = [r'"a\"id\": 7,"', '{"id": 007}', '{"id": 1.5}', '{"id": 1e3}', '{"id": "x", "decision": "accept"}']
    said = page.evaluate(
        "texts => texts.map(text => { try { return parseReview(text) } catch { return 'refused' } })", odd
    )
    assert said == ['a"id": 7,', "refused", {"id": 1.5}, {"id": 1000}, {"id": "x", "decision": "accept"}]
    assert page.evaluate("['0', '-7', '12', '012', '', 'x', 7, null].map(isId)") == [True] * 3 + [False] * 5


def test_two_tabs_lose_nothing_to_each_other(open_page, four):
    one = open_page(four)
    other = one.context.new_page()
    other.goto(one.url)
    one.locator('.card[data-id="1"]').get_by_role("button", name="Accept").click()
    other.locator('.card[data-id="1"][data-verdict="accept"]').wait_for()  # without loading it again
    other.locator('.card[data-id="2"]').get_by_role("button", name="Reject").click()
    one.locator('.card[data-id="2"][data-verdict="reject"]').wait_for()
    assert one.locator("#progress-text").text_content() == "2 of 4 decided: 1 accepted, 1 rejected"
    other.locator('.card[data-id="1"]').get_by_role("button", name="Keep modal").click()
    one.locator('.card[data-id="1"][data-verdict="keep-modal"]').wait_for()
    assert one.get_by_role("button", name="Undo").is_disabled()  # its own decision on 1 holds no more
    other.get_by_role("button", name="Undo").click()
    one.locator('.card[data-id="1"][data-verdict="accept"]').wait_for()
    other.get_by_role("button", name="Undo").click()
    one.locator('.card[data-id="2"]:not([data-verdict])').wait_for()
    assert [(d.id, d.decision) for d in read_review(exported(one)).decisions] == [(1, "accept")]


def test_a_tab_that_heard_nothing_overwrites_nothing(open_page, four):
    one = open_page(four)
    other = one.context.new_page()
    other.add_init_script("window.addEventListener('storage', event => event.stopImmediatePropagation(), true)")
    other.goto(one.url)
    one.locator('.card[data-id="1"]').get_by_role("button", name="Accept").click()
    assert verdict(other, 1) is None
    other.locator('.card[data-id="2"]').get_by_role("button", name="Reject").click()
    expected = [(1, "accept"), (2, "reject")]
    assert [(d.id, d.decision) for d in read_review(exported(other)).decisions] == expected
    reload(one, kept_by=other)
    assert [verdict(one, id) for id in (1, 2)] == ["accept", "reject"]


def test_decisions_elsewhere_stay_as_another_tab_put_them(open_page, four):
    page = open_page(four)
    page.evaluate("elsewhere.set('9', { id: '9', decision: 'reject', fingerprint: 'f' })")
    theirs = [{"id": "9", "decision": "accept", "fingerprint": "f"}]
    page.evaluate("theirs => localStorage.setItem(STORE, JSON.stringify({ here: {}, elsewhere: theirs }))", theirs)
    page.locator('.card[data-id="1"]').get_by_role("button", name="Accept").click()
    assert page.evaluate("readKept()") == {"here": {"1": "accept"}, "elsewhere": theirs}


def test_a_full_browser_loses_no_decision(open_page, four):
    page = open_page(four)
    page.locator('.card[data-id="1"]').get_by_role("button", name="Accept").click()
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full') } }")
    page.locator('.card[data-id="1"]').get_by_role("button", name="Reject").click()
    page.locator('.card[data-id="2"]').get_by_role("button", name="Accept").click()
    assert page.get_by_text("This browser does not keep decisions").is_visible()
    assert [(d.id, d.decision) for d in read_review(exported(page)).decisions] == [(1, "reject"), (2, "accept")]


def test_decisions_that_an_older_page_kept_are_read(open_page, four):
    page = open_page(four)
    page.evaluate("""localStorage.setItem(STORE, '{"1":"reject","2":null}')""")
    reload(page)
    assert [verdict(page, id) for id in (1, 2)] == ["reject", None]
    page.locator('.card[data-id="3"]').get_by_role("button", name="Accept").click()
    reload(page)
    assert [verdict(page, id) for id in (1, 2, 3)] == ["reject", None, "accept"]


def test_loading_a_review_takes_what_fits(open_page, four, tmp_path):
    marks = {annotation["id"]: fingerprint(annotation) for annotation in rows_as_labels()}
    entries = [(1, "accept", marks[1]), (2, "reject", "0" * 16), (9, "reject", marks[1]), (3, "burn", marks[3])]
    decisions = [{"id": id, "decision": decision, "fingerprint": mark} for id, decision, mark in entries]
    content = {"format": "amodalpl-review", "version": 1, "labels_sha256": "0" * 64, "decisions": decisions}
    file = tmp_path / "other.json"
    file.write_text(json.dumps(content))
    page = open_page(four)
    page.locator("#file").set_input_files(file)
    page.get_by_text("Decisions loaded: 1; left out, because they do not fit these labels: 3.").wait_for()
    assert [verdict(page, id) for id in (1, 2, 3, 4)] == ["accept", None, None, None]
    for text, message in [("{", "cut short"), ("null", "not a review"), ('{"format": "x"}', "not a review")]:
        file.write_text(text)
        page.locator("#file").set_input_files(file)
        page.get_by_text(f"Nothing loaded: the file is {'not JSON, or is ' if text == '{' else ''}{message}").wait_for()
    assert verdict(page, 1) == "accept"


def test_decisions_in_the_folder_are_shown_and_can_be_taken_back(open_page, tmp_path):
    labels = rows_as_labels()
    folder = write_labels(tmp_path, labels, categories=CLASSES)
    decisions = [{"id": 1, "decision": "reject", "fingerprint": fingerprint(labels[0])}]
    review = {"format": "amodalpl-review", "version": 1, "labels_sha256": "a" * 64, "decisions": decisions}
    (folder / "review.json").write_text(json.dumps(review))
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    page = open_page(folder)
    assert verdict(page, 1) == "reject"
    page.locator('.card[data-id="1"]').get_by_role("button", name="Reject").click()
    page.locator('.card[data-id="1"]:not([data-verdict])').wait_for()
    reload(page)
    assert verdict(page, 1) is None
    assert read_review(exported(page)).decisions == ()


def test_pages_hold_only_the_cards_in_view(open_page, hundred):
    page = open_page(hundred)
    assert ids(page) == list(range(1, 49))
    page.keyboard.press("n")
    assert ids(page) == list(range(49, 97))
    page.get_by_role("button", name="Next").click()
    assert ids(page) == [97, 98, 99, 100]
    assert page.get_by_role("button", name="Next").is_disabled()
    page.keyboard.press("p")
    page.keyboard.press("k")  # back over the edge of the page
    assert ids(page) == list(range(1, 49))
    assert page.evaluate("document.activeElement.dataset.id") == "48"
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.dataset.id") == "49"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.id") == str(49 + page.evaluate("columns()"))


def test_looking_closer(open_page, four):
    page = open_page(four)
    page.get_by_role("button", name="Look closer at cup 3").click()
    detail = page.locator("#detail")
    assert detail.get_by_role("heading", name="cup #3").is_visible()
    assert "+100 %" in detail.text_content() and "high uncertainty" in detail.text_content()
    page.keyboard.press("r")
    assert verdict(page, 3) == "reject"
    assert detail.get_by_role("button", name="Reject").get_attribute("aria-pressed") == "true"
    page.keyboard.press("w")
    assert detail.locator(".picture").get_attribute("viewBox") == "0 0 80 60"
    detail.get_by_role("button", name=f"{CLASSES[2]} #4", exact=True).click()  # its occluder
    assert detail.get_by_role("heading", name="#4").is_visible()
    page.keyboard.press("k")
    assert detail.get_by_role("heading", name="cup #1").is_visible()
    page.keyboard.press("Escape")
    assert not detail.is_visible()
    page.wait_for_function("document.activeElement.dataset.id === '1'")  # the dialog tells of its closing a task later


def test_order_graph_puts_front_above_back_and_marks_what_is_mutual_or_a_circle(open_page, four):
    page = open_page(four)
    page.get_by_role("button", name="Look closer at cup 3").click()
    graph = page.locator(".order")
    nodes = page.locator(".order .node").evaluate_all(
        "nodes => nodes.map(n => [n.getAttribute('aria-label'), n.transform.baseVal[0].matrix.f])"
    )
    tops = {name.split()[1].strip(","): top for name, top in nodes}
    assert tops["4"] < tops["1"] == tops["2"] == tops["3"]
    assert graph.locator(".edge").count() == 4  # the mutual pair is drawn once
    assert graph.locator(".edge.mutual").count() == 1
    assert graph.locator(".edge.cycle").count() == 2
    assert "1 × hiding each other (two arrowheads), 1 × in a circle" in page.locator("#detail-order").text_content()
    assert graph.locator('[data-object="4"] text').all_text_contents() == [f"{CLASSES[2][:12]}…", "#4"]
    graph.get_by_role("button", name="apple 2").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("heading", name="apple #2").is_visible()


def colour_in(page, selector):
    return page.locator(selector).evaluate("element => getComputedStyle(element).getPropertyValue('--own')")


def test_an_object_and_its_box_light_up_together_and_lead_on(open_page, tmp_path):
    """Three cups side by side, the second behind the first."""
    places = [box(20, left, 40, left + 12) for left in (5, 25, 45)]
    labels = [
        label(n, growth=1.0) | {key: rle.to_json(rle.encode(mask)) for key in ("segmentation", "visible_mask")}
        for n, mask in enumerate(places, 1)
    ]
    labels[1]["amodalpl"]["occluders"] = [1]
    folder = write_labels(tmp_path, labels)
    write_order(folder, [(1, 2)])
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    page = open_page(folder)
    page.get_by_role("button", name="Look closer at cup 2").click()
    page.keyboard.press("w")
    lit = page.locator(".lit")
    page.locator('.order [data-object="1"]').hover()
    assert lit.evaluate_all("found => found.map(e => e.dataset.object)") == ["1", "1"]
    assert colour_in(page, '.order [data-object="1"]') == colour_in(page, '.object[data-object="1"]')
    assert colour_in(page, '.object[data-object="1"]') != colour_in(page, '.object[data-object="3"]')
    page.locator('.object[data-object="3"]').hover()
    assert lit.evaluate_all("found => found.map(e => e.dataset.object)") == ["3"]  # has no box: it hides nothing
    page.locator('.object[data-object="1"]').hover()
    assert page.locator('.order .lit[data-object="1"]').count() == 1
    page.locator('.object[data-object="1"]').click()
    assert page.get_by_role("heading", name="cup #1").is_visible()


def test_zoom_and_pan(open_page, four):
    page = open_page(four)
    page.get_by_role("button", name="Look closer at cup 3").click()
    page.keyboard.press("w")
    picture = page.locator("#detail .picture")

    def view():
        return [float(v) for v in picture.get_attribute("viewBox").split(" ")]

    at = picture.bounding_box()
    scale = min(at["width"] / 80, at["height"] / 60)
    over_4 = (  # which lies on top of the others at 15, 30
        at["x"] + at["width"] / 2 + (15 - 40) * scale, at["y"] + at["height"] / 2,
    )  # fmt: skip
    page.mouse.move(*over_4)
    page.mouse.wheel(0, -500)
    page.wait_for_function("document.querySelector('#detail .picture').viewBox.baseVal.width < 40")
    x, y, width, height = view()
    assert y + height / 2 == pytest.approx(30, abs=1) and x < 15 < x + width
    page.mouse.down()
    page.mouse.move(over_4[0] - 30, over_4[1], steps=3)
    page.mouse.up()
    assert view()[0] > x and view()[2] == width
    assert page.get_by_role("heading", name="cup #3").is_visible()  # a drag is no click
    page.keyboard.press("0")
    assert view() == [0, 0, 80, 60]
    page.keyboard.press("+")
    assert view()[2] == pytest.approx(64)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("document.querySelector('#detail .picture').viewBox.baseVal.width === 80")
    page.mouse.click(*over_4)
    assert page.get_by_role("heading", name="#4").is_visible()


def test_two_fingers_zoom(open_page, four):
    page = open_page(four, has_touch=True)
    page.get_by_role("button", name="Look closer at cup 3").click()
    page.keyboard.press("w")
    at = page.locator("#detail .picture").bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind, apart):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 40)
    for apart in (50, 60, 70, 80):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)
    page.wait_for_function("document.querySelector('#detail .picture').viewBox.baseVal.width < 50")


def test_tools_fill_no_phone(open_page, four):
    page = open_page(four, viewport={"width": 390, "height": 844})
    assert page.locator(".bar").bounding_box()["height"] < 844 / 4
    assert not page.get_by_label("Sort by").is_visible()
    page.get_by_text("Sort, filter, layers").click()
    assert page.get_by_label("Sort by").is_visible()
    wide = open_page(four)
    assert wide.get_by_label("Sort by").is_visible() and not wide.get_by_text("Sort, filter, layers").is_visible()


def test_pixels_of_other_masks_have_a_colour_of_their_own(open_page, tmp_path):
    folder = write_labels(tmp_path, [label(1, growth=2.0, added_px=0, flags=["shared_pixels"])])
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    page = open_page(folder)
    assert page.locator(".card .layer-shared").is_visible() and page.locator(".card .layer-hidden").count() == 0
    assert page.get_by_text("drawn, but belongs to another mask").is_visible()
    page.locator(".card .open").click()
    assert "50 % of the whole; all of it was drawn" in page.locator("#detail-facts").text_content()


def test_pixels_behind_what_has_no_mask_have_a_colour_of_their_own(open_page, tmp_path):
    folder = write_labels(tmp_path, [label(1, growth=2.0, flags=["unmasked_occluder"])])
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    page = open_page(folder)
    assert page.locator(".card .layer-unmasked").is_visible() and page.locator(".card .layer-hidden").count() == 0
    page.get_by_label("completed", exact=True).uncheck()
    assert not page.locator(".card .layer-unmasked").is_visible()


def test_layers_are_switched(open_page, four):
    page = open_page(four)
    first = page.locator('.card[data-id="3"]')
    shown = {
        "photo": "image",
        "modal": "path",
        "hidden": "path",
        "outline": "path",
        "occluders": "path",
        "uncertainty": "image",
    }
    for number, (layer, kind) in enumerate(shown.items(), 1):
        drawn = first.locator(f"{kind}.layer-{layer}").first
        before = drawn.is_visible()
        assert before == (layer != "uncertainty")
        page.keyboard.press(str(number))
        assert drawn.is_visible() != before, layer


def test_keys_are_explained(open_page, four):
    page = open_page(four)
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keys").is_visible()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    assert not page.get_by_role("heading", name="Keys").is_visible()
    assert page.locator("#progress-text").text_content() == "0 of 4 decided"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_sideways(open_page, four, width):
    page = open_page(four, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("button", name="Look closer at cup 3").click()
    box = page.locator("#detail").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert (
        page.evaluate("document.getElementById('detail').scrollWidth - document.getElementById('detail').clientWidth")
        <= 0
    )


def brightness(page, selector, what):
    colour = page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{what}")
    values = [float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(values) / 3


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_scheme_follows_the_system(open_page, four, scheme, is_dark):
    page = open_page(four, color_scheme=scheme)
    for selector in ("body", ".bar", ".card", "select", "#undo"):
        assert (brightness(page, selector, "backgroundColor") < 80) == is_dark, selector
    for selector in ("body", "select", ".text"):
        assert (brightness(page, selector, "color") > 175) == is_dark, selector


def test_focus_can_be_seen(open_page, four):
    page = open_page(four)
    page.keyboard.press("Tab")
    assert page.get_by_text("Skip to the labels").is_visible()
    page.keyboard.press("j")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


def test_photos_beside_the_page_are_shown(open_page, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "PAGE_BYTES", 100)
    folder = write_labels(tmp_path, [label(1)])
    write_label_page(folder, write_photos(tmp_path / "photos"), None)
    page = open_page(folder)
    width = page.evaluate(
        """async () => {
            const picture = new Image();
            picture.src = document.querySelector(".layer-photo").getAttribute("href");
            await picture.decode();
            return picture.naturalWidth;
        }"""
    )
    assert width == 80


def test_no_labels(open_page, tmp_path):
    folder = write_labels(tmp_path, [])
    write_label_page(folder, tmp_path, None)
    assert open_page(folder).get_by_text("This label file holds no labels").is_visible()
