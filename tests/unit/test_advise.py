"""`amodalpl advise`: what is recommended follows from scores by arithmetic; the command measures and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from heard import Heard
from interruptions import Killed, KillIn

from amodalpl.drawn_scenes import write_scenes
from amodalpl.errors import OutputError, SettingsError
from amodalpl.metrics.hidden_parts import HiddenParts
from amodalpl.pipeline.advise import advise, recommend

PHOTOS = 20
VALUES = {
    "synthesis": {"holdout_fraction": 0.5, "holdout_scenes": 1},
    "completer": {"width": 4, "init_gain": 1.0},
    "training": {"steps": 20, "batch_size": 2, "workers": 0, "validate_every": 20, "checkpoint_every": 20},
}


def metrics(ours, hull, photos=PHOTOS, noise=0.0, seed=0):
    """Scores of a completer whose photos have about these invisible mIoUs, each photo with 1000 pixels."""
    drawn = np.random.default_rng(seed).normal(0, noise, photos)
    rows = {n: {"labels": (round(1000 * (ours + drawn[n])), 1000), "convex hull": (round(1000 * hull), 1000)}
            for n in range(photos)}  # fmt: skip
    whole = {"labels": {"miou": 0.9}, "convex hull": {"miou": 0.8}}
    order = {"labels": {"accuracy": 0.9}}
    scores = {"hold-out completion, micro (PCNet/ASBU): all": whole, "hold-out order, O-Acc (PCNet/ASBU)": order}
    return {"hidden_by_photo": HiddenParts(rows).to_json(), "scores": scores}


def test_ready_made_is_recommended_where_it_surely_beats_the_hull():
    found = recommend({"ready-made": metrics(0.6, 0.4), "fine-tuned": metrics(0.6, 0.4)})
    assert found.use == "ready-made"
    assert found.sentence == (
        "use it ready-made: invisible mIoU ready-made 0.60, convex hull 0.40, lead +0.20 [+0.20, +0.20]; "
        "fine-tuned adds +0.00 [+0.00, +0.00], which may be chance"
    )
    assert found.scores["convex hull"]["invisible_miou"] == pytest.approx(0.4)
    assert found.scores["ready-made"]["miou"] == 0.9 and found.scores["convex hull"]["miou"] == 0.8


def test_a_lead_that_may_be_chance_is_no_lead():
    noisy = metrics(0.42, 0.4, noise=0.3)
    found = recommend({"ready-made": noisy})
    assert found.use == "convex hull" and "no completer is surely better than the convex hull" in found.sentence
    assert "a training of your own may be (--until own)" in found.sentence


def test_a_training_is_recommended_where_it_pays():
    three = {"ready-made": metrics(0.5, 0.4), "fine-tuned": metrics(0.6, 0.4), "own": metrics(0.7, 0.4)}
    assert recommend(three).use == "own"
    assert recommend(three | {"own": metrics(0.6, 0.4)}).use == "fine-tuned"
    behind = {"ready-made": metrics(0.3, 0.4), "fine-tuned": metrics(0.45, 0.4)}
    assert recommend(behind).sentence.startswith("use it fine-tuned: invisible mIoU fine-tuned 0.45, convex hull 0.40")


def test_behind_the_hull_nothing_is_recommended():
    found = recommend({name: metrics(0.3, 0.4) for name in ("ready-made", "fine-tuned", "own")})
    assert found.use == "convex hull" and "--until own" not in found.sentence


def test_of_few_photos_nothing_is_said_and_the_cheapest_labels_are_to_be_looked_at():
    found = recommend({name: metrics(0.1, 0.9, photos=5) for name in ("ready-made", "fine-tuned")})
    assert found.use == "ready-made"
    assert found.sentence == "too few photos to say: 5 were scored, 6 are needed; look at the labels of ready-made"


def test_each_advice_has_a_next_line_and_none_leads_in_a_circle():
    own = {"ready-made": metrics(0.3, 0.4), "fine-tuned": metrics(0.35, 0.4), "own": metrics(0.2, 0.4)}
    two = {name: own[name] for name in ("ready-made", "fine-tuned")}
    few = {"ready-made": metrics(0.3, 0.4, photos=5)}
    labels = "amodalpl pseudolabel a.json i --completer advice/"
    for measured, line in (
        (two, "amodalpl advise a.json i --out advice --until own"),
        (own, f"{labels}fine_tuned --out labels"),
        (few, f"{labels}ready_made --out labels"),
    ):
        assert recommend(measured).next_command("a.json i", Path("advice")) == line


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), 24, seed=0, size_hw=(64, 80))


def ask(scenes, out, progress=None, until="fine-tuned"):
    more = {"progress": progress} if progress else {}
    return advise(scenes.annotations, scenes.images, out, VALUES, device="cpu", until=until, **more)


def test_the_command_measures_what_it_is_asked_for(scenes, tmp_path):
    made = ask(scenes, tmp_path / "advice")
    rows = made.scores["hold-out hidden parts, micro (PCNet/ASBU), with intervals"]
    assert list(rows) == ["convex hull", "ready-made", "fine-tuned"]
    steps = {n: json.loads((made.out / n / "run.json").read_text())["settings"]["training"]["steps"]
             for n in ("ready_made", "fine_tuned")}  # fmt: skip
    assert steps == {"ready_made": 0, "fine_tuned": 2} and not (made.out / "own").exists()
    assert json.loads((made.out / "advice.json").read_text())["sentence"] == made.counts["advice"]
    again = ask(scenes, tmp_path / "advice")
    assert again.to_json() == made.to_json()
    assert "own" in ask(scenes, tmp_path / "advice", until="own").scores.popitem()[1]


def test_enough_photos_are_held_back_for_half_of_them_to_be_scored(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 30, seed=0, size_hw=(64, 80))
    values = {**VALUES, "synthesis": {"holdout_scenes": 1}}
    made = advise(scenes.annotations, scenes.images, tmp_path / "a", values, device="cpu", until="ready-made")
    assert "too few photos" not in made.counts["advice"]
    record = json.loads((tmp_path / "a" / "synth" / "run.json").read_text())
    assert record["settings"]["synthesis"]["holdout_fraction"] == 12 / 30


def test_of_too_few_photos_nothing_is_trained(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 8, seed=0, size_hw=(64, 80))

    heard = Heard()
    made = ask(scenes, tmp_path / "advice", heard)
    assert "warning: nothing is trained, since 2 photos would be scored and 6 are needed" in heard.notes
    assert not (made.out / "fine_tuned").exists() and made.next.startswith("amodalpl pseudolabel ")


def test_killed_it_goes_on(scenes, tmp_path):
    with pytest.raises(Killed):
        ask(scenes, tmp_path / "advice", KillIn("training the completer", 1))
    assert ask(scenes, tmp_path / "advice").counts == ask(scenes, tmp_path / "undisturbed").counts


def test_bad_input_is_one_line(scenes, tmp_path):
    with pytest.raises(SettingsError, match="--until: expected ready-made, fine-tuned, own, got 'mine'"):
        ask(scenes, tmp_path / "advice", until="mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="earlier `amodalpl advise`, found letter.txt"):
        ask(scenes, tmp_path / "other")
