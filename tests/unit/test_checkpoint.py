"""A trained completer on disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from amodalpl.calibration.fit import Calibration, RiskGuarantee
from amodalpl.completion.checkpoint import (
    CARD,
    SHAPES,
    WEIGHTS,
    CompleterBundle,
    load_completer,
    load_weights,
    read_unmasked_thresholds,
    save_completer,
    write_card,
)
from amodalpl.completion.predictor import CropSpec
from amodalpl.errors import CheckpointError, DataError
from amodalpl.models.completer import build_completer
from amodalpl.settings import CompleterSettings, SynthesisSettings
from amodalpl.shape_prior.plausibility import FEWEST_SHAPES, learn_shape_prior

CPU = torch.device("cpu")
KNOTS = Calibration().to_json()


def save(folder, method="asbu", width=4, image=False, seed=0, promise=None, shapes=None):
    torch.manual_seed(seed)
    completer = build_completer(method, width, image, init_gain=1.0).eval()
    calibration = Calibration((0.1, 0.5), (0.0, 0.25), (0.0, 0.9), (0.1, 0.8), 0.04)
    trained = CompleterBundle(completer, CropSpec(32, 4.0, 7), 0.35, 0.15, (2.0,), calibration, promise, shapes)
    folder.mkdir(exist_ok=True)
    save_completer(
        folder,
        trained,
        CompleterSettings(method=method, width=width, image=image),
        SynthesisSettings(patch_px=32, enlarge_box=4.0, boundary_px=7),
    )
    return trained


def change_card(folder, **changes):
    card = {**json.loads((folder / CARD).read_text()), **changes}
    left_out = [key for key, value in changes.items() if value is None]
    (folder / CARD).write_text(json.dumps({key: value for key, value in card.items() if key not in left_out}))


@pytest.mark.parametrize("image", [False, True])
def test_round_trip(tmp_path, image):
    trained = save(tmp_path, "pcnet-m", image=image, promise=RiskGuarantee(0.21) if image else None)
    loaded = load_completer(tmp_path, CPU)
    assert (loaded.threshold, loaded.order_threshold, loaded.contact_crops) == (0.35, 0.15, (2.0,))
    assert loaded.calibration == trained.calibration and loaded.promise == trained.promise
    assert (loaded.crop.patch_px, loaded.crop.enlarge_box, loaded.crop.boundary_px) == (32, 4.0, 7)
    assert loaded.completer.method == trained.completer.method and loaded.completer.uses_image is image
    assert not loaded.completer.training
    masks = [torch.rand(1, 1, 32, 32) < 0.5 for _ in range(3)]
    photo = torch.randint(0, 255, (1, 3, 32, 32), dtype=torch.uint8) if image else None
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded.completer(*masks, photo), trained.completer(*masks, photo), rtol=1e-4, atol=1e-5
        )


def test_thresholds_where_no_object_is(tmp_path):
    """A card of before there were two has one for all objects."""
    chosen = replace(save(tmp_path), unmasked_threshold=0.9, unmasked_threshold_in_pieces=0.7)
    write_card(tmp_path, chosen, CompleterSettings(method="asbu", width=4), SynthesisSettings(patch_px=32))
    for changes, expected in (({}, (0.9, 0.7)), ({"unmasked_threshold_in_pieces": None}, (0.9, 0.9))):
        change_card(tmp_path, **changes)
        loaded = load_completer(tmp_path, CPU)
        assert (loaded.unmasked_threshold, loaded.unmasked_threshold_in_pieces) == expected
        assert read_unmasked_thresholds(tmp_path) == expected


def test_weights_are_plain_tensors(tmp_path):
    save(tmp_path)
    weights = torch.load(tmp_path / WEIGHTS, weights_only=True)
    assert all(isinstance(v, torch.Tensor) for v in weights.values())


def test_same_completer_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name)
    assert (tmp_path / "a" / CARD).read_bytes() == (tmp_path / "b" / CARD).read_bytes()


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"completer.json: expected the card .* train one with `amodalpl complete`"):
        load_completer(tmp_path / "nowhere", CPU)


def test_card_without_weights(tmp_path):
    save(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"weights.pth: expected the completer's weights, found no such file"):
        load_completer(tmp_path, CPU)


def test_weights_of_another_training(tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b", seed=1)
    (tmp_path / "b" / WEIGHTS).replace(tmp_path / "a" / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"weights.pth: is not the file that completer.json describes"):
        load_completer(tmp_path / "a", CPU)


def test_damaged_weights(tmp_path):
    save(tmp_path)
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"its SHA-256 differs\); train again"):
        load_completer(tmp_path, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"method": "deocclusion"}, "unknown method 'deocclusion'", id="unknown method"),
        pytest.param({"method": "abu"}, "did you mean 'asbu'", id="misspelt method"),
        pytest.param({"method": None}, r"a damaged one \('method'\)", id="no method"),
        pytest.param({"patch_px": "wide"}, "a damaged one .*wide", id="patch is text"),
        pytest.param({"patch_px": 33}, "a damaged one .*patch_px", id="patch does not fit the network"),
        pytest.param({"calibration": []}, "a damaged one", id="no calibration"),
        pytest.param({"calibration": KNOTS | {"doubt": []}}, "got 0 of `doubt` for 2", id="knots of different numbers"),
        pytest.param({"calibration": KNOTS | {"doubt": [0.5, 0.5]}}, "increasing numbers in `doubt`", id="equal knots"),
        pytest.param({"calibration": KNOTS | {"belongs": [0, 2]}}, "numbers from 0 to 1 .*`belongs`", id="above 1"),
        pytest.param({"calibration": KNOTS | {"unasked": None}}, "a damaged one", id="no error of the unasked"),
        pytest.param({"promise": {"share": 0.95}}, r"a damaged one \('uncertainty_at_most'\)", id="half a promise"),
        pytest.param({"format": None}, "expected a card of format 6, got 1, .* train it again", id="an older card"),
        pytest.param({"format": 7}, "expected a card of format 6, got 7", id="a newer card"),
        pytest.param(
            {"contact_crops": [1.5, -1]}, r"a damaged one \(contact_crops.1: .* greater than 0", id="no such look"
        ),
        pytest.param({"threshold": [1]}, "a damaged one", id="threshold is a list"),
        pytest.param({"unmasked_threshold_in_pieces": 2}, "a damaged one .*unmasked", id="no probability"),
        pytest.param({"weights_sha256": None}, "SHA-256 differs", id="no hash"),
    ],
)
def test_damaged_card(tmp_path, changes, message):
    save(tmp_path)
    change_card(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_completer(tmp_path, CPU)


@pytest.mark.parametrize("content", ["[]", "null", '"asbu"', "{}"])
def test_card_of_another_shape(tmp_path, content):
    save(tmp_path)
    (tmp_path / CARD).write_text(content)
    with pytest.raises(CheckpointError, match=r"completer.json: expected a trained completer's card"):
        load_completer(tmp_path, CPU)


@pytest.mark.parametrize("changes", [{"width": 8}, {"image": True}], ids=["width", "image"])
def test_card_of_another_network(tmp_path, changes):
    save(tmp_path)
    change_card(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=r"weights.pth: expected the weights of this completer .* fit"):
        load_completer(tmp_path, CPU)


def test_card_is_not_json(tmp_path):
    save(tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(DataError, match=r"completer.json: expected the card"):
        load_completer(tmp_path, CPU)


@pytest.fixture(scope="module")
def shapes():
    rng = np.random.default_rng(0)
    masks = [np.ones((int(rng.integers(10, 40)), int(rng.integers(10, 40))), dtype=bool) for _ in range(FEWEST_SHAPES)]
    return learn_shape_prior(masks, [1] * FEWEST_SHAPES, seed=0)


def test_shapes_travel_with_the_completer(tmp_path, shapes):
    save(tmp_path, shapes=shapes)
    loaded = load_completer(tmp_path, CPU)
    square = [np.ones((20, 20), dtype=bool)]
    assert loaded.shapes.score(square, [1]).tolist() == shapes.score(square, [1]).tolist()
    save(tmp_path / "without")
    assert load_completer(tmp_path / "without", CPU).shapes is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.unlink(), "expected the shapes that completer.json names", id="gone"),
        pytest.param(lambda path: path.write_bytes(b"other"), "is not the file that completer.json", id="another"),
    ],
)
def test_shapes_that_do_not_belong(tmp_path, shapes, damage, message):
    save(tmp_path, shapes=shapes)
    damage(tmp_path / SHAPES)
    with pytest.raises(CheckpointError, match=message):
        load_completer(tmp_path, CPU)


@pytest.mark.parametrize("width", [2, 8])
def test_weights_of_a_network_of_another_width_are_refused(width):
    own, other = (build_completer("asbu", w, False, init_gain=1.0) for w in (4, width))
    with pytest.raises(CheckpointError, match=r"of which \d+ fit; it was trained with another method or width"):
        load_weights(own, other.state_dict(), WEIGHTS)
