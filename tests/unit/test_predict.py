"""`amodalpl predict` on drawn scenes and a drawn video, with a detector of a few steps and a completer of none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from drawn_completer import write_completer
from interruptions import Killed, KillIn

from amodalpl import detect_image, load_completer, load_detector, read_annotations
from amodalpl.data.label_folder import read_label_folder
from amodalpl.data.review_file import Decision, Review, fingerprint, write_review
from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import CheckpointError, DataError, OutputError, SettingsError
from amodalpl.io.files import hash_file, hash_output
from amodalpl.masks import rle
from amodalpl.pipeline.apply_review import apply_review
from amodalpl.pipeline.predict import predict
from amodalpl.pipeline.train_detector import train_detector
from amodalpl.settings_values import resolve
from amodalpl.tools.convert import convert
from amodalpl.tools.show import show

TINY = {
    "backbone": "resnet18_small", "steps": 40, "batch_size": 2, "workers": 0, "optimizer": "adamw",
    "learning_rate": 1e-3, "warmup_steps": 2, "image_scale": [96, 72], "rpn_proposals": 30, "roi_samples": 16,
    "channels": 16, "score_threshold": 0.0,
}  # fmt: skip
LEAST = 0.05
SIZE_HW = (65, 81)  # odd, which MPEG-4 does not know


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos, a detector with two masks, one with whole masks only, and a completer."""
    folder = tmp_path_factory.mktemp("predict")
    files = write_scenes(folder, 5, seed=0, size_hw=SIZE_HW)
    for model in ("orcnn", "mask-rcnn"):
        settings = resolve({"detector": {**TINY, "model": model}})
        train_detector(files.truth, files.images, folder / model, settings, init="none", device="cpu")
    write_completer(folder / "completer")
    return folder


def run(place, out, source=None, model="orcnn", progress=None, completer=None, checkpoint=None, **of_predict):
    values = {"score_threshold": LEAST, "photos_per_part": 2, **of_predict}
    more = {} if progress is None else {"progress": progress}
    return predict(
        source or place / "images", place / model, out, resolve({"predict": values}),
        checkpoint=checkpoint, completer=completer, device="cpu", **more,
    )  # fmt: skip


def outputs(out):
    names = ("detections.json", "labels", "overlays", "frames", "video.mp4")
    return {name: hash_output(out / name) for name in names}


def write_video(path, frames, size_hw=(64, 80), fps=10, code="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size_hw[::-1])
    for frame in frames:
        writer.write(cv2.resize(frame, size_hw[::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def found(place, tmp_path_factory):
    return run(place, tmp_path_factory.mktemp("found") / "out")


def test_labels_are_a_folder_of_ours(place, found, tmp_path):
    folder = found.out / "labels"
    labels = json.loads((folder / "pseudo_amodal.json").read_text())
    results = json.loads((found.out / "detections.json").read_text())
    assert [image["file_name"] for image in labels["images"]] == [f"scene_{k:04d}.png" for k in range(1, 6)]
    assert [c["name"] for c in labels["categories"]] == ["disc", "box", "bottle", "star"]
    assert (
        5
        < len(labels["annotations"])
        <= len(results)
        == found.counts["detections"] + sum(found.counts.get("left out", {}).values())
    )
    scores = {(r["image_id"], r["score"]) for r in results}
    for photo in labels["images"]:
        seen = np.zeros(SIZE_HW, dtype=int)
        for entry in (a for a in labels["annotations"] if a["image_id"] == photo["id"]):
            whole, visible = (rle.decode(entry[key]) for key in ("segmentation", "visible_mask"))
            assert not (visible & ~whole).any() and whole.any()
            assert (entry["image_id"], entry["score"]) in scores and entry["score"] >= LEAST
            assert entry["amodalpl"]["completer"] == "orcnn"
            seen += visible
        assert seen.max() <= 1  # no pixel has two owners
    data = read_annotations(folder / "pseudo_amodal.json")
    assert data.format == "d2sa" and all(i.amodal and i.score is not None for i in data.instances)
    assert len(read_label_folder(folder).overview.labels) == len(labels["annotations"])
    assert (folder / "report.html").read_bytes().startswith(b"<!")
    assert show(folder, place / "images", "scene_0001.png", tmp_path / "a.png").files["picture"].exists()
    assert cv2.imread(str(found.out / "overlays/scene_0001.jpg")).shape[:2] == SIZE_HW
    assert not list(found.out.glob(".parts*"))


def test_the_order_goes_with_the_masks(found):
    labels = json.loads((found.out / "labels/pseudo_amodal.json").read_text())
    masks = {a["id"]: (rle.decode(a["segmentation"]), rle.decode(a["visible_mask"])) for a in labels["annotations"]}
    occluders = {a["id"]: a["amodalpl"]["occluders"] for a in labels["annotations"]}
    pairs = [p for photo in json.loads((found.out / "labels/order.json").read_text())["images"] for p in photo["pairs"]]
    assert pairs
    for pair in pairs:
        assert pair["front"] in occluders[pair["back"]]
        if pair["evidence_px"] > 0:
            (whole, seen), (_, front) = masks[pair["back"]], masks[pair["front"]]
            assert (whole & ~seen & front).any()


def test_whole_masks_alone_are_cut_by_those_of_a_higher_score(place, tmp_path):
    out = run(place, tmp_path / "out", model="mask-rcnn").out
    labels = json.loads((out / "labels/pseudo_amodal.json").read_text())["annotations"]
    for entry in labels:
        expected = rle.decode(entry["segmentation"])
        for other in labels:
            if other["image_id"] == entry["image_id"] and other["score"] > entry["score"]:
                expected = expected & ~rle.decode(other["segmentation"])
        ties = sum(o["score"] == entry["score"] and o["image_id"] == entry["image_id"] for o in labels)
        if ties == 1:
            np.testing.assert_array_equal(rle.decode(entry["visible_mask"]), expected)
        assert "visible_by_score" in entry["amodalpl"]["flags"]
    assert any(entry["occlude_rate"] > 0 for entry in labels)


def test_results_are_those_of_mmdetections_own_tools(place, found):
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(place / "orcnn/mmdet_config.py"), str(place / "orcnn/weights.pth"), device="cpu")
    theirs = inference_detector(model, str(place / "images/scene_0002.png")).pred_instances
    ours = [d for d in json.loads((found.out / "detections.json").read_text()) if d["image_id"] == 2]
    scores = theirs.scores.tolist()
    kept = [k for k, score in enumerate(scores) if score >= LEAST and theirs.masks[k].any()]  # ours names no empty mask
    assert len(kept) == len(ours) > 0
    for k, result in zip(kept, ours, strict=True):
        assert result["score"] == pytest.approx(float(theirs.scores[k]), abs=2e-5)
        np.testing.assert_array_equal(rle.decode(result["segmentation"]), np.asarray(theirs.masks[k]))
        np.testing.assert_array_equal(rle.decode(result["visible_mask"]), np.asarray(theirs.visible_masks[k]))


def test_batches_find_what_single_photos_do(place, found, tmp_path):
    single = run(place, tmp_path / "out", batch_size=1)
    one, many = (json.loads((s.out / "detections.json").read_text()) for s in (single, found))
    assert [d["image_id"] for d in one] == [d["image_id"] for d in many]
    np.testing.assert_allclose([d["score"] for d in one], [d["score"] for d in many], atol=2e-5)


def test_a_config_with_its_checkpoint_finds_the_same(place, found, tmp_path):
    again = run(
        place, tmp_path / "out", model="orcnn/mmdet_config.py", checkpoint=place / "orcnn/weights.pth"
    )  # MMDetection has no ids of categories: they are numbered from 1, as those of the scenes are
    assert (again.out / "detections.json").read_bytes() == (found.out / "detections.json").read_bytes()


@pytest.mark.parametrize(("label", "units"), [("detecting objects", 2), ("drawing overlays", 3)])
def test_killed_and_started_again_it_gives_the_same_bytes(place, found, tmp_path, label, units):
    with pytest.raises(Killed):
        run(place, tmp_path / "out", progress=KillIn(label, units))
    parts = list(tmp_path.glob("out/.parts*/*.jsonl"))
    assert len(parts) == {"detecting objects": 1, "drawing overlays": 3}[label]
    made = {part: part.stat().st_mtime_ns for part in parts}

    class Seen(KillIn):
        def __init__(self):
            super().__init__("nothing", 0)
            self.kept = None

        def task(self, label, total, done=0):
            if label == "detecting objects":
                self.kept = done
                assert all(part.stat().st_mtime_ns == made[part] for part in parts)
            return super().task(label, total, done)

    seen = Seen()
    run(place, tmp_path / "out", progress=seen)
    assert seen.kept == min(2 * len(parts), 5)
    assert outputs(tmp_path / "out") == outputs(found.out)


def test_a_completer_completes_the_masks_of_any_model(place, tmp_path):
    done = run(place, tmp_path / "out", model="mask-rcnn", completer=place / "completer")
    modal = json.loads((done.out / "modal.json").read_text())["annotations"]
    labels = {a["id"]: a for a in json.loads((done.out / "labels/pseudo_amodal.json").read_text())["annotations"]}
    assert len(labels) == len(modal) > 5
    for entry in modal:
        label = labels[entry["id"]]
        assert label["score"] == entry["score"] and label["amodalpl"]["completer"] == "layered"
        assert not (rle.decode(entry["segmentation"]) & ~rle.decode(label["segmentation"])).any()
    assert (done.out / "labels/doubt.jsonl").exists() and (done.out / "overlays/scene_0001.jpg").exists()
    scored = json.loads((done.out / "detections.json").read_text())
    told = ("image_id", "category_id", "bbox", "score", "segmentation", "visible_mask")
    assert scored == [{name: label[name] for name in told} for label in labels.values()]
    assert any(rle.area_px(one["segmentation"]) > rle.area_px(one["visible_mask"]) for one in scored)


def test_a_video(place, tmp_path, capfd):
    frames = [cv2.imread(str(place / f"images/scene_000{1 + k % 5}.png")) for k in range(7)]
    video = write_video(tmp_path / "a.avi", frames)
    with pytest.raises(Killed):
        run(place, tmp_path / "out", video, progress=KillIn("reading frames", 4))
    done = run(place, tmp_path / "out", video, every_frame=1)
    assert done.counts["frames"] == 7 and "frames missing at the end" not in done.counts
    assert len(list((done.out / "frames").iterdir())) == 7
    undisturbed = run(place, tmp_path / "undisturbed", video)
    assert outputs(done.out) == outputs(undisturbed.out)
    rendered = cv2.VideoCapture(str(done.out / "video.mp4"))
    assert rendered.get(cv2.CAP_PROP_FPS) == 10
    pictures = [rendered.read()[1] for _ in range(8)]
    assert pictures[6].shape == (64, 80, 3) and pictures[7] is None
    labels = read_annotations(done.out / "labels/pseudo_amodal.json")
    assert {image.file_name for image in labels.images} == {f"{k:06d}.jpg" for k in range(7)}
    thinned = run(place, tmp_path / "thinned", video, every_frame=3)
    assert thinned.counts["photos"] == 3
    assert capfd.readouterr().err == ""


def test_frames_of_odd_size_lose_no_row_and_no_column(place, tmp_path, capfd):
    frame = cv2.resize(cv2.imread(str(place / "images/scene_0001.png")), (81, 63))
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()  # JPEGs in a row are a video, too: one that states no number
    (tmp_path / "odd.avi").write_bytes(jpeg * 3)
    done = run(place, tmp_path / "out", tmp_path / "odd.avi")
    assert done.counts["frames"] == 3
    assert cv2.imread(str(done.out / "frames/000000.jpg")).shape == (63, 81, 3)
    assert cv2.VideoCapture(str(done.out / "video.mp4")).read()[1].shape == (64, 82, 3)
    assert capfd.readouterr().err == ""


def test_a_video_that_ends_early_is_used_as_far_as_it_goes(place, tmp_path, capfd):
    video = write_video(tmp_path / "a.avi", [cv2.imread(str(place / "images/scene_0001.png"))] * 30)
    data = video.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    done = run(place, tmp_path / "out", tmp_path / "cut.avi", every_frame=4)
    assert 0 < done.counts["frames"] < 30
    assert done.counts["frames"] + done.counts["frames missing at the end"] == 30
    assert capfd.readouterr().err == ""


def test_other_commands_take_its_labels(place, found, tmp_path):
    folder = found.out / "labels"
    labels = json.loads((folder / "pseudo_amodal.json").read_text())["annotations"]
    for to in ("coco-amodal", "kins", "cocoa"):
        convert(folder / "pseudo_amodal.json", tmp_path / f"{to}.json", place / "images", to_format=to)
    back = read_annotations(tmp_path / "kins.json")
    assert len(back.instances) + len(back.dropped) > 0 and back.format == "kins"
    chosen = next(entry for entry in labels if entry["visible_bbox"][2])
    decided = Review(hash_file(folder / "pseudo_amodal.json"), (Decision(chosen["id"], "reject", fingerprint(chosen)),))
    write_review(tmp_path / "review.json", decided)
    corrected = apply_review(folder, place / "images", tmp_path / "review.json", tmp_path / "corrected")
    entries = json.loads((corrected.out / "pseudo_amodal.json").read_text())["annotations"]
    assert [entry["id"] for entry in entries if entry["iscrowd"]] == [chosen["id"]]
    settings = resolve({"detector": {**TINY, "steps": 1, "model": "orcnn"}})
    trained = train_detector(
        corrected.out / "pseudo_amodal.json", place / "images", tmp_path / "again", settings, init="none", device="cpu"
    )
    assert trained.counts["train"]["images"] > 0


@pytest.mark.slow
def test_a_stock_model_of_mmdetection_and_one_without_masks(place, tmp_path):
    """RTMDet-Ins with random weights: what it finds is noise, but it is found, and COCO's classes are known."""
    import mmdet

    from amodalpl.detector import stock_config, training

    configs = Path(mmdet.__file__).parent / ".mim/configs"
    for name, masks in (
        ("rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py", True),
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", False),
    ):
        if not (configs / name).exists():
            pytest.skip("MMDetection is installed without its configs")
        config = stock_config.read_config(configs / name)
        model = training.build(stock_config.without_downloads(config["model"]), None)
        torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
        if masks:
            detector = load_detector(configs / name, tmp_path / "w.pth", device="cpu")
            objects = detect_image(detector, place / "images/scene_0001.png", score_threshold=0.01)
            assert len(objects.scores) > 0 and len(detector.categories) == 80
            assert detector.class_names[1] == "person" and objects.amodal.shape[1:] == SIZE_HW
        else:
            with pytest.raises(DataError, match="FasterRCNN: expected one that predicts masks"):
                detect_image(
                    load_detector(configs / name, tmp_path / "w.pth", device="cpu"), np.zeros((60, 80, 3), np.uint8)
                )


def test_photos_without_objects(place, tmp_path):
    (tmp_path / "black").mkdir()
    for k in range(2):
        cv2.imwrite(str(tmp_path / f"black/{k}.png"), np.zeros((40, 60, 3), np.uint8))
    for completer in (None, place / "completer"):
        out = tmp_path / f"out {completer is None}"
        done = run(place, out, tmp_path / "black", score_threshold=0.99, completer=completer)
        assert done.counts["detections"] == 0 and json.loads((out / "detections.json").read_text()) == []
        labels = json.loads((out / "labels/pseudo_amodal.json").read_text())
        assert labels["annotations"] == [] and len(labels["images"]) == 2
        assert done.counts["warnings"] == ["nothing was detected from score 0.99 on; lower predict.score_threshold"]
        assert done.then == ""
        assert (out / "labels/report.html").exists() and (out / "overlays/1.jpg").exists()


def test_a_pattern_a_single_photo_and_files_that_are_no_photos(place, tmp_path):
    one = run(place, tmp_path / "one", place / "images/scene_0003.png")
    assert one.counts["photos"] == 1
    pattern = run(place, tmp_path / "pattern", place / "images/*_000[12].png")
    assert pattern.counts["photos"] == 2
    mixed = tmp_path / "mixed"
    shutil.copytree(place / "images", mixed / "sub")
    (mixed / "notes.txt").write_text("no photo")
    done = run(place, tmp_path / "out", mixed)
    assert done.counts["files that are no photos"] == 1 and done.counts["photos"] == 5
    assert (done.out / "overlays/sub/scene_0001.jpg").exists()


def test_a_photo_that_its_note_turns_is_looked_at_upright(place, tmp_path):
    from PIL import Image

    photo = Image.open(place / "images/scene_0001.png").convert("RGB")
    note = Image.Exif()
    note[0x0112] = 6
    photo.save(tmp_path / "a.jpg", exif=note)
    done = run(place, tmp_path / "out", tmp_path / "a.jpg")
    [entry] = json.loads((done.out / "labels/pseudo_amodal.json").read_text())["images"]
    assert (entry["height"], entry["width"]) == SIZE_HW[::-1]


def damaged(place, folder, change):
    """Copy the detector, with its weights changed."""
    shutil.copytree(place / "orcnn", folder)
    content = torch.load(folder / "weights.pth", weights_only=True)
    change(content)
    torch.save(content, folder / "weights.pth")
    return folder


def with_nan(content):
    content["state_dict"]["backbone.conv1.weight"][0, 0, 0, 0] = float("nan")


def with_other_classes(content):
    content["meta"]["dataset_meta"]["classes"] = ("cat", "dog")


def test_weights_that_cannot_be_used_are_one_line(place, tmp_path):
    cases = [
        (with_nan, "backbone.conv1.weight: expected numbers, got NaN or infinity"),
        (with_other_classes, "expected weights for the 4 classes of mmdet_config.py, got names of 2: cat, dog"),
    ]
    for number, (change, message) in enumerate(cases):
        folder = damaged(place, tmp_path / str(number), change)
        with pytest.raises(CheckpointError, match=message):
            run(place, tmp_path / "out", model=folder / "mmdet_config.py", checkpoint=folder / "weights.pth")
        with pytest.raises(CheckpointError, match="is not the file that training wrote"):
            run(place, tmp_path / "out", model=folder)
    with pytest.raises(CheckpointError, match="roi_head.mask_head.*it is of another model, or of other classes"):
        run(place, tmp_path / "out", model="orcnn/mmdet_config.py", checkpoint=place / "mask-rcnn/weights.pth")
    assert not (tmp_path / "out").exists()


def no_photo(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    return tmp_path / "a.txt"


def folder_without(tmp_path):
    no_photo(tmp_path)
    return tmp_path


def broken_photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8nothing")
    return tmp_path / "a.jpg"


def broken_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    return tmp_path / "a.mp4"


def video_without_frames(tmp_path):
    return write_video(tmp_path / "a.avi", [])


def narrow_photo(tmp_path):
    cv2.imwrite(str(tmp_path / "long.png"), np.zeros((2, 900, 3), np.uint8))
    return tmp_path / "long.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(narrow_photo, "long.png: expected a photo whose short side is a pixel or more", id="narrow photo"),
        pytest.param(lambda p: p / "none", "none: expected photos, a folder or a pattern", id="nothing there"),
        pytest.param(lambda p: p / "*.jpg", "nothing has such a name", id="pattern of nothing"),
        pytest.param(no_photo, "expected a photo or a video, got 'a.txt'", id="no photo"),
        pytest.param(folder_without, "expected a folder with photos, got 'a.txt'", id="folder without photos"),
        pytest.param(broken_photo, "a.jpg: expected a whole photo, found a JPEG that is cut short", id="broken photo"),
        pytest.param(broken_video, "a.mp4: expected a video, could not open it", id="broken video"),
        pytest.param(video_without_frames, "a.avi: expected a video", id="video without frames"),
    ],
)
def test_sources_that_cannot_be_used_are_one_line(place, tmp_path, capfd, make, message):
    with pytest.raises(DataError, match=message.replace("*", r"\*")) as error:
        run(place, tmp_path / "out", make(tmp_path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() and capfd.readouterr().err == ""


def test_detectors_that_cannot_be_used_are_one_line(place, tmp_path):
    for model, checkpoint, error, message in (
        ("none", None, DataError, "expected the folder of `amodalpl train-detector`, or a config"),
        ("completer", None, DataError, "expected the record of a finished `amodalpl train-detector`"),
        ("orcnn", place / "orcnn/weights.pth", SettingsError, "has its own weights"),
        ("orcnn/mmdet_config.py", None, SettingsError, "give its weights with --checkpoint FILE"),
        ("truth.json", place / "orcnn/weights.pth", DataError, "expected a config of MMDetection"),
        ("orcnn/mmdet_config.py", place / "none.pth", CheckpointError, "found no such file"),
    ):
        with pytest.raises(error, match=message):
            run(place, tmp_path / "out", model=model, checkpoint=checkpoint)
    (tmp_path / "boxes.py").write_text(
        (place / "mask-rcnn/mmdet_config.py").read_text() + "\nmodel['roi_head'].pop('mask_head')\n"
    )
    with pytest.raises(DataError, match="model MaskRCNN: expected one that predicts masks of objects"):
        run(place, tmp_path / "out", model=tmp_path / "boxes.py", checkpoint=place / "mask-rcnn/weights.pth")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SettingsError, match="predict.precision: expected fp32 on the CPU"):
        run(place, tmp_path / "out", precision="fp16")


def test_completers_that_cannot_be_used_are_known_before_anything_is_detected(place, tmp_path, monkeypatch):
    monkeypatch.setattr("amodalpl.detector.inference.detect_photos", None)
    with pytest.raises(DataError, match="none/completer.json: expected the card .* train one with `amodalpl complete`"):
        run(place, tmp_path / "out", completer=tmp_path / "none")
    write_completer(tmp_path / "completer")
    (tmp_path / "completer/weights.pth").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="weights.pth"):
        run(place, tmp_path / "out", completer=tmp_path / "completer")
    assert not (tmp_path / "out").exists()


def test_a_class_that_the_detector_has_not_is_said_before_it_looks(place, tmp_path):
    settings = resolve({"labels": {"per_class": {"dsc": {"threshold": 0.4}}}})
    with pytest.raises(SettingsError, match="orcnn has no class 'dsc'; did you mean 'disc'"):
        predict(
            place / "images", place / "orcnn", tmp_path / "out", settings, completer=place / "completer", device="cpu"
        )
    assert not (tmp_path / "out").exists()


def test_another_run_is_refused(place, found):
    with pytest.raises(OutputError, match="belongs to another run"):
        run(place, found.out, score_threshold=0.5)


def test_from_python(place, found):
    detector = load_detector(place / "orcnn", device="cpu")
    seen = detect_image(detector, place / "images/scene_0001.png", score_threshold=LEAST)
    labels = json.loads((found.out / "labels/pseudo_amodal.json").read_text())["annotations"]
    first = [entry for entry in labels if entry["image_id"] == 1]
    assert [entry["category_id"] for entry in first] == list(seen.category_ids)
    np.testing.assert_allclose([entry["score"] for entry in first], seen.scores, atol=1e-5)
    for k, entry in enumerate(first):
        np.testing.assert_array_equal(rle.decode(entry["segmentation"]), seen.amodal[k])
        np.testing.assert_array_equal(rle.decode(entry["visible_mask"]), seen.visible[k])
        assert entry["amodalpl"]["flags"] == seen.flags[k]
    assert seen.class_names[0] in ("disc", "box", "bottle", "star") and seen.boxes_xyxy.shape == (len(first), 4)
    completer = load_completer(place / "completer", device="cpu")
    whole = detect_image(detector, place / "images/scene_0001.png", completer, score_threshold=LEAST)
    assert whole.amodal.shape == seen.amodal.shape and (whole.amodal & ~seen.amodal).any()
    rules = {name: {"keep_modal": True} for name in detector.class_names.values()}
    kept = detect_image(
        detector, place / "images/scene_0001.png", completer, score_threshold=LEAST, per_class=rules
    )  # classes by name
    assert all("kept_modal" in flags or "fully_shared" in flags for flags in kept.flags)
    nothing = detect_image(detector, np.zeros((40, 50, 3), np.uint8), completer, score_threshold=0.99)
    assert nothing.amodal.shape == (0, 40, 50) and nothing.scores.shape == (0,)
    with pytest.raises(DataError, match=r"image: expected \(H, W, 3\) uint8 RGB"):
        detect_image(detector, np.zeros((4, 5), np.uint8))
    with pytest.raises(SettingsError, match="score_threshold"):
        detect_image(detector, np.zeros((4, 5, 3), np.uint8), score_threshold=2)


def test_its_folders_name_no_place(found):
    """Two places of the same photos give the same labels."""
    assert str(Path.cwd()) not in (found.out / "labels/pseudo_amodal.json").read_text()
