"""`amodalpl synth` on drawn scenes: bank and hold-out from other photos, the same bytes for the same seed."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from interruptions import Killed, KillIn

from amodalpl.calibration.holdout import read_holdout
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import DataError, OutputError, SettingsError
from amodalpl.masks import gaps, rle
from amodalpl.pipeline.synth import synth
from amodalpl.settings_values import resolve
from amodalpl.synthesis.bank import Bank

SETTINGS = {"seed": 3, "synthesis": {"patch_px": 32, "holdout_scenes": 2, "holdout_fraction": 0.3}}


def settings(**synthesis):
    return resolve({**SETTINGS, "synthesis": {**SETTINGS["synthesis"], **synthesis}})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 8, seed=0, size_hw=(64, 80))


@pytest.fixture(scope="module")
def made(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "synth"
    return synth(scenes.annotations, scenes.images, out, settings())


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.json"
    }


def changed(scenes, path, change):
    """Write the annotations with a change."""
    data = json.loads(scenes.annotations.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_writes_what_it_says(made):
    found = {p.split("/")[0] for p in contents(made.out)}
    assert found == {"bank", "holdout.json", "holdout_images", "preview.png", "gaps.png"}
    record = json.loads((made.out / "run.json").read_text())
    assert record["state"] == "done" and record["seed"] == 3 and record["stage"] == "synth"
    assert record["counts"] == made.counts and record["settings"]["synthesis"]["patch_px"] == 32
    assert set(record["inputs"]) == {"annotations", "images"}
    for name in record["outputs"]:
        assert (made.out / name).exists()
    for path in made.files.values():
        assert path.exists()
    assert cv2.imread(str(made.out / "preview.png")).ndim == 3


def test_held_out_photos_are_never_in_the_bank(made, scenes):
    bank, holdout = Bank(made.out / "bank"), read_holdout(made.out).data
    held_out = {record.raw["photo_id"] for record in holdout.images}
    assert len(held_out) == round(8 * 0.3)
    assert not held_out & set(bank.table["image_id"].tolist())
    assert made.counts["in bank"] == len(bank)
    data = json.loads(scenes.annotations.read_text())
    assert made.counts["in bank"] + made.counts["in hold-out photos"] + sum(made.counts["left out"].values()) == len(
        data["annotations"]
    )


def test_bank_holds_the_users_masks(made, scenes):
    data = {a["id"]: a for a in json.loads(scenes.annotations.read_text())["annotations"]}
    bank = Bank(made.out / "bank")
    for index, row in enumerate(bank.table):
        raw = data[int(row["annotation_id"])]["segmentation"]
        mask = rle.decode({"size": raw["size"], "counts": raw["counts"].encode()})
        x, y, w, h = bank[index].box_xywh
        np.testing.assert_array_equal(mask[y : y + h, x : x + w], bank[index].mask)


def test_holdout_truth(made):
    holdout = read_holdout(made.out).data
    assert not holdout.dropped and {r.raw["part"] for r in holdout.images} == {"choose", "report"}
    for record in holdout.images:
        assert (made.out / "holdout_images" / record.file_name).exists()
        modal = np.stack([rle.decode(i.modal) for i in holdout.by_image[record.id]])
        amodal = np.stack([rle.decode(i.amodal) for i in holdout.by_image[record.id]])
        assert modal.sum(axis=0).max() == 1
        assert not (modal & ~amodal).any()
        hidden = (amodal & ~modal).any(axis=0)
        assert not (hidden & ~modal.any(axis=0)).any()  # whatever is hidden, something is in front of it
    assert made.counts["hold-out objects occluded"] > 0


def test_same_seed_same_bytes_other_seed_other_bytes(made, scenes, tmp_path):
    synth(scenes.annotations, scenes.images, tmp_path / "again", settings())
    assert contents(tmp_path / "again") == contents(made.out)
    synth(scenes.annotations, scenes.images, tmp_path / "other", settings().model_copy(update={"seed": 4}))
    assert contents(tmp_path / "other")["holdout.json"] != contents(made.out)["holdout.json"]


def test_second_call_does_nothing(made, scenes):
    times = {p: p.stat().st_mtime_ns for p in made.out.rglob("*")}
    again = synth(scenes.annotations, scenes.images, made.out, settings())
    assert again.counts == made.counts
    assert {p: p.stat().st_mtime_ns for p in made.out.rglob("*")} == times


@pytest.mark.parametrize("image", [False, True], ids=["masks", "photos"])
@pytest.mark.parametrize(("task", "units"), [("cutting out", 3), ("drawing the hold-out", 2)])
def test_killed_and_started_again(scenes, tmp_path, task, units, image):
    synth(scenes.annotations, scenes.images, tmp_path / "whole", settings(with_image=image))
    with pytest.raises(Killed):
        synth(
            scenes.annotations, scenes.images, tmp_path / "out", settings(with_image=image), "auto", KillIn(task, units)
        )
    synth(scenes.annotations, scenes.images, tmp_path / "out", settings(with_image=image))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_photos_are_kept_when_asked_for(scenes, tmp_path):
    made = synth(scenes.annotations, scenes.images, tmp_path / "out", settings(with_image=True))
    bank = Bank(made.out / "bank")
    assert bank.has_images and bank.image(0).shape == (48, 48, 3)
    record = {r["id"]: r["file_name"] for r in json.loads(scenes.annotations.read_text())["images"]}
    photo = cv2.imread(str(scenes.images / record[int(bank.table[0]["image_id"])]))[:, :, ::-1]
    x, y, w, h = bank[0].box_xywh
    centre = photo[y + h // 2, x + w // 2].astype(int)
    assert abs(bank.image(0)[22:27, 22:27].astype(int) - centre).min(axis=(0, 1)).max() < 30


def test_what_is_left_out_is_counted(scenes, tmp_path):
    def change(data):
        data["annotations"][0]["iscrowd"] = 1
        data["annotations"][1]["segmentation"] = []
        tiny = np.zeros((64, 80), bool)
        tiny[0, 0] = True
        data["annotations"][2]["segmentation"] = rle.to_json(rle.encode(tiny))

    file = changed(scenes, tmp_path / "a.json", change)
    made = synth(file, scenes.images, tmp_path / "out", settings())
    left_out = made.counts["left out"]
    assert left_out["crowd region"] == 1 and left_out["smaller than synthesis.min_side_px"] == 1
    assert sum(left_out.values()) == 3
    assert made.counts["in bank"] + made.counts["in hold-out photos"] + 3 == made.counts["instances"]


def test_shared_pixels_are_resolved_and_counted(scenes, tmp_path):
    def change(data):
        data["annotations"][0]["segmentation"] = [[0, 0, 80, 0, 80, 64, 0, 64]]  # over everything in its photo

    made = synth(changed(scenes, tmp_path / "a.json", change), scenes.images, tmp_path / "out", settings())
    data = json.loads(scenes.annotations.read_text())["annotations"]
    others = [a for a in data[1:] if a["image_id"] == data[0]["image_id"]]
    assert made.counts["instances with shared pixels"] == 1
    assert made.counts["shared pixels"] == sum(a["area"] for a in others)


def nothing_written(out):
    return not out.exists()


def test_no_folder_of_photos(scenes, tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of the photos, found no such folder"):
        synth(scenes.annotations, tmp_path / "nowhere", tmp_path / "out", settings())
    assert nothing_written(tmp_path / "out")


def test_no_photos_found(scenes, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found no such file \(and 7 more of 8 photos\); `amodalpl check` lists all"):
        synth(scenes.annotations, tmp_path / "empty", tmp_path / "out", settings())
    assert nothing_written(tmp_path / "out")


def test_photo_of_another_size(scenes, tmp_path):
    def change(data):
        data["images"][3] |= {"height": 80, "width": 64}
        for annotation in data["annotations"]:
            if annotation["image_id"] == data["images"][3]["id"]:
                annotation["segmentation"] = [[1, 1, 30, 1, 30, 30]]

    with pytest.raises(DataError, match="expected 64 x 80 pixels as annotated, got 80 x 64"):
        synth(changed(scenes, tmp_path / "a.json", change), scenes.images, tmp_path / "out", settings())
    assert nothing_written(tmp_path / "out")


def test_photo_that_is_none(scenes, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in scenes.images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    sorted(folder.iterdir())[2].write_text("not a photo")
    with pytest.raises(DataError, match="could not decode it"):
        synth(scenes.annotations, folder, tmp_path / "out", settings())
    assert nothing_written(tmp_path / "out")


def test_one_photo_is_too_few(scenes, tmp_path):
    def change(data):
        first = data["images"][0]["id"]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] == first]

    with pytest.raises(DataError, match="expected usable instances in at least 2 photos, got 1"):
        synth(changed(scenes, tmp_path / "a.json", change), scenes.images, tmp_path / "out", settings())


@pytest.mark.parametrize("image", [False, True], ids=["masks", "photos"])
def test_fewer_than_two_usable_instances(scenes, tmp_path, image):
    def change(data):
        del data["annotations"][3:]
        for number, annotation in enumerate(data["annotations"]):
            annotation["image_id"] = data["images"][number]["id"]
            dot = np.zeros((64, 80), bool)
            dot[number, number] = True
            annotation["segmentation"] = rle.to_json(rle.encode(dot))

    with pytest.raises(DataError, match=r"at least 2 usable instances for training .* got 0 and 0 in 8 photos"):
        synth(changed(scenes, tmp_path / "a.json", change), scenes.images, tmp_path / "out", settings(with_image=image))


def test_folder_of_another_run(made, scenes):
    before = contents(made.out)
    with pytest.raises(OutputError, match=r"synthesis.patch_px: it has 32, asked for 64"):
        synth(scenes.annotations, scenes.images, made.out, settings(patch_px=64))
    assert contents(made.out) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"synthesis": {"patch": 64}}, "unknown setting 'synthesis.patch'.*'patch_px'", id="unknown"),
        pytest.param({"synthesis": {"patch_px": 40}}, "synthesis.patch_px: .*multiple of 16", id="no multiple of 16"),
        pytest.param({"synthesis": {"boundary_px": 4}}, "expected an odd number, got 4", id="even boundary"),
        pytest.param({"synthesis": {"scale": [1.2, 0.8]}}, "scale: expected 0 <= least <= most", id="range"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(SettingsError, match=message):
        resolve(values)


def previews(scenes, folder, **synthesis):
    synth(scenes.annotations, scenes.images, folder, settings(**synthesis))
    return (folder / "preview.png").read_bytes()


def test_preview_shows_the_recipe_that_is_asked_for(made, scenes, tmp_path):
    pictures = {r: previews(scenes, tmp_path / r, recipe=r) for r in ("pair", "layers", "ais")}
    assert len(set(pictures.values())) == 3
    assert pictures["layers"] == (made.out / "preview.png").read_bytes()  # of the default method


def squares(*boxes_xywh, size_hw=(64, 80)):
    """Annotations of rectangles, the same in each photo."""

    def change(data):
        data["annotations"] = []
        for image in data["images"]:
            for x, y, w, h in boxes_xywh:
                mask = np.zeros(size_hw, bool)
                mask[y : y + h, x : x + w] = True
                data["annotations"].append(
                    {
                        "id": len(data["annotations"]) + 1,
                        "image_id": image["id"],
                        "category_id": data["categories"][0]["id"],
                        "iscrowd": 0,
                        "segmentation": rle.to_json(rle.encode(mask)),
                    }
                )

    return change


def test_gaps_are_measured(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(gaps, "FEWEST_PAIRS", 10)
    file = changed(scenes, tmp_path / "a.json", squares((5, 5, 10, 10), (18, 5, 10, 10), (50, 40, 10, 10)))
    made = synth(file, scenes.images, tmp_path / "out", settings())
    assert made.counts["gap px"] == 3  # 8 photos with 3 free pixels, and 8 with 22, which is too far to be contact
    assert made.files["gaps"].read_bytes().startswith(b"\x89PNG")


def test_what_is_sure_to_be_whole_is_counted(scenes, tmp_path):
    """Two that touch, one alone, one alone at the border, and one beside a crowd; in 6 of 8 photos."""
    boxes = ((5, 5, 10, 10), (15, 5, 10, 10), (40, 5, 10, 10), (60, 0, 10, 10), (40, 40, 10, 10), (52, 40, 10, 10))

    def change(data):
        squares(*boxes)(data)
        for crowd in data["annotations"][5::6]:
            crowd["iscrowd"] = 1

    file = changed(scenes, tmp_path / "a.json", change)
    made = synth(file, scenes.images, tmp_path / "out", settings(only_unoccluded=True))
    assert made.counts["in bank"] == 6 * 5
    assert made.counts["in bank, nothing near"] == 6 * 2
    assert made.counts["in bank, cut off by the photo"] == 6
    assert made.counts["in bank, sure to be whole"] == 6
    whole = Bank(made.out / "bank", only_unoccluded=True)
    assert {whole[k].box_xywh for k in range(len(whole))} == {(40, 5, 10, 10)}
    row = next(k for k in range(30) if Bank(made.out / "bank")[k].box_xywh == (40, 40, 10, 10))
    assert Bank(made.out / "bank").unknown(row)[32, 45:60].all()  # the crowd, 7 to 17 pixels right of the middle


def test_nothing_sure_to_be_whole_is_one_clear_line(scenes, tmp_path):
    file = changed(scenes, tmp_path / "a.json", squares((5, 5, 10, 10), (15, 5, 10, 10)))
    with pytest.raises(DataError, match="at least 2 cut-outs that nothing hides .* got 0 of 12; set .*=false"):
        synth(file, scenes.images, tmp_path / "out", settings(only_unoccluded=True))
    assert nothing_written(tmp_path / "out")


def test_holdout_of_what_is_sure_to_be_whole(scenes, tmp_path):
    """Two that touch, one alone, one alone at the border; what is pasted is cut out of the other photos' lone one."""
    boxes = ((5, 5, 10, 10), (15, 5, 10, 10), (40, 25, 10, 10), (60, 0, 10, 10))
    file = changed(scenes, tmp_path / "a.json", squares(*boxes))
    lone = {(40, 25, 10, 10)}
    for whole in (True, False):
        given = settings(holdout_whole=whole, holdout_occluded=1.0, holdout_fraction=0.4)
        made = synth(file, scenes.images, tmp_path / f"whole {whole}", given)
        annotations = json.loads(made.files["hold-out"].read_text())["annotations"]
        assert {a["image_id"] for a in annotations} == set(range(1, made.counts["hold-out scenes"] + 1))
        unpasted = {tuple(a["bbox"]) for a in annotations} & {*boxes}
        assert unpasted == lone if whole else unpasted > lone
        assert len(annotations) > made.counts["hold-out scenes"]  # each with something pasted


@pytest.mark.parametrize("lone", [0, 1], ids=["chooses", "reports"])
def test_holdout_of_which_one_half_is_empty_serves_as_both(scenes, made, tmp_path, lone):
    """Of the two held-out photos one has an object that stands alone, the other none."""
    held_out = list(dict.fromkeys(record.raw["photo_id"] for record in read_holdout(made.out).data.images))

    def change(data):
        squares((5, 5, 10, 10), (15, 5, 10, 10), (40, 25, 10, 10))(data)
        data["annotations"] = [
            entry for k, entry in enumerate(data["annotations"]) if k % 3 < 2 or entry["image_id"] == held_out[lone]
        ]

    file = changed(scenes, tmp_path / "a.json", change)
    synth(file, scenes.images, tmp_path / "out", settings(holdout_whole=True))
    images = read_holdout(tmp_path / "out").data.images
    assert {record.raw["photo_id"] for record in images} == {held_out[lone]}
    assert {record.raw["part"] for record in images} == {"both"}


def test_holdout_without_anything_whole_is_one_clear_line(scenes, tmp_path):
    file = changed(scenes, tmp_path / "a.json", squares((5, 5, 10, 10), (15, 5, 10, 10)))
    with pytest.raises(DataError, match="got 12 and 0 in 8 photos; .*, or set synthesis.holdout_whole=false"):
        synth(file, scenes.images, tmp_path / "out", settings(holdout_whole=True))
    assert nothing_written(tmp_path / "out")


def test_unusable_data_leaves_no_claim_behind(tmp_path):
    """The corrected file is another run, and must not find the folder taken."""
    scenes = write_scenes(tmp_path / "scenes", 4, seed=0, size_hw=(64, 80))
    with pytest.raises(DataError, match="expected at least 2 usable instances for training and 1 in other photos"):
        synth(scenes.annotations, scenes.images, tmp_path / "out", settings(min_side_px=500))
    assert not (tmp_path / "out").exists()
    assert synth(scenes.annotations, scenes.images, tmp_path / "out", settings()).counts["in bank"] > 2


def test_damaged_photos_are_left_out_and_counted(scenes, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(scenes.images, images)
    data = json.loads(scenes.annotations.read_text())
    damaged = images / data["images"][4]["file_name"]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    lost = sum(a["image_id"] == data["images"][4]["id"] for a in data["annotations"])
    made = synth(scenes.annotations, images, tmp_path / "out", settings().model_copy(update={"left_out_photos": 0.2}))
    assert made.counts["left out"]["unusable photo"] == lost and made.counts["photos"] == 7
    assert data["images"][4]["id"] not in Bank(made.out / "bank").table["image_id"]


def test_masks_far_from_each_other_are_warned_of(scenes, tmp_path):
    file = changed(scenes, tmp_path / "a.json", squares((5, 5, 10, 10), (60, 45, 10, 10)))
    (warning,) = synth(file, scenes.images, tmp_path / "out", settings()).counts["warnings"]
    assert warning.startswith("no two masks are near each other in any of 8 photos")


def test_usual_data_warns_of_nothing(made, scenes):
    assert "warnings" not in made.counts
    record = json.loads((made.out / "run.json").read_text())
    assert record["arguments"] == {
        "annotations": str(scenes.annotations.resolve()),
        "images": str(scenes.images.resolve()),
        "fmt": "auto",
    }
    assert record["took"]["seconds"] > 0


def test_a_class_with_a_number_that_json_does_not_know(scenes, tmp_path):
    odd = changed(scenes, tmp_path / "odd.json", lambda data: data["categories"][0].update(weight=float("nan")))
    synth(odd, scenes.images, tmp_path / "out", settings())
    assert json.loads((tmp_path / "out" / "holdout.json").read_text())["categories"][0]["weight"] is None
