"""ORCNN and VRSP-Net part by part: shapes, order of the passes, warm-up, scores, and each loss."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from torch.nn import functional

from amodalpl.detector import mmdet_registry as _mmdet_registry  # noqa: F401
from amodalpl.detector import model_table
from amodalpl.detector.heads import vrsp
from amodalpl.detector.heads.mask_losses import MaskTruth, mask_iou, mask_loss, matching_loss
from amodalpl.detector.heads.orcnn import hidden_loss
from amodalpl.detector.mmdetection import MODELS
from amodalpl.settings import DetectorSettings

pytestmark = pytest.mark.usefixtures("mmdet_scope")

CHANNELS, CLASSES, REGIONS = 16, 3, 5


def head(model="vrsp", **of_model):
    section = {"vrsp": {"codes": 4, "neighbours": 2, **of_model}} if model == "vrsp" else {"orcnn": of_model}
    settings = DetectorSettings(model=model, channels=CHANNELS, **section)
    torch.manual_seed(0)
    built = MODELS.build(model_table.model_config(settings, CLASSES, "GN")["roi_head"]["mask_head"])
    built.init_weights()
    return built


@pytest.fixture
def features():
    return torch.randn(REGIONS, CHANNELS, 14, 14, generator=torch.Generator().manual_seed(1)).relu()


@pytest.fixture
def truth():
    generator = torch.Generator().manual_seed(2)
    amodal = (torch.rand(REGIONS, 28, 28, generator=generator) > 0.4).float()
    visible = amodal * (torch.rand(REGIONS, 28, 28, generator=generator) > 0.4)
    return MaskTruth(torch.tensor([0, 1, 2, 1, 0]), amodal, visible)


def value(loss):
    return float(loss.detach())


def test_orcnn_has_a_loss_for_each_mask_and_for_their_difference(features, truth):
    assert "loss_mask_hidden" not in head("orcnn").losses(features, truth)
    orcnn = head("orcnn", hidden_weight=0.5, difference="logits")
    losses = orcnn.losses(features, truth)
    amodal, visible = orcnn.masks(features, truth.labels)
    assert amodal.shape == visible.shape == (REGIONS, 28, 28)
    hidden = truth.amodal - truth.visible
    by_hand = {
        "loss_mask_amodal": functional.binary_cross_entropy_with_logits(amodal, truth.amodal),
        "loss_mask_visible": functional.binary_cross_entropy_with_logits(visible, truth.visible),
        "loss_mask_hidden": 0.5 * functional.binary_cross_entropy_with_logits(amodal - visible.clamp(min=0), hidden),
    }
    assert {name: value(loss) for name, loss in losses.items()} == pytest.approx(
        {name: value(loss) for name, loss in by_hand.items()}
    )


def test_hidden_part_as_a_difference_of_probabilities_is_0_for_the_truth(truth):
    sure = 20 * (2 * truth.amodal - 1), 20 * (2 * truth.visible - 1)
    assert value(hidden_loss(*sure, truth, "probability")) < 1e-3
    p = torch.sigmoid(torch.tensor(0.3)) * (1 - torch.sigmoid(torch.tensor(-0.2)))
    flat = torch.full((REGIONS, 28, 28), 0.3), torch.full((REGIONS, 28, 28), -0.2)
    hidden = truth.amodal * (1 - truth.visible)
    share = value(hidden.mean())
    expected = -(share * math.log(p) + (1 - share) * math.log(1 - p))
    assert value(hidden_loss(*flat, truth, "probability")) == pytest.approx(expected, rel=1e-4)


def test_only_the_difference_of_logits_presses_whole_masks_of_visible_pixels_down():
    """The gradient of a whole mask where both heads are sure and right; above 0, a step lowers its logits."""
    seen = torch.ones(1, 28, 28)
    truth = MaskTruth(torch.tensor([0]), seen, seen)
    pushes = {}
    for difference in ("logits", "probability"):
        amodal = torch.full((1, 28, 28), 4.0, requires_grad=True)
        losses = mask_loss(amodal, seen, truth) + hidden_loss(amodal, 4 * seen, truth, difference)
        losses.backward()
        pushes[difference] = float(amodal.grad.sum())
    assert pushes["logits"] > 0.4  # as much as for a pixel that is as likely hidden as not
    assert abs(pushes["probability"]) < 0.02


def test_shapes_of_all_passes(features, truth):
    said = head().passes(features, truth.labels)
    for one in (said.coarse_amodal, said.coarse_visible, said.visible, said.amodal):
        assert one.logits.shape == (REGIONS, 28, 28)
        assert [tuple(f.shape) for f in one.features] == [(REGIONS, CHANNELS, 14, 14), (REGIONS, CHANNELS, 28, 28)]
    assert said.class_logits.shape == (REGIONS, CLASSES) and said.shapes.shape == (REGIONS, 2, 28, 28)
    assert vrsp.attention(said.visible.logits).shape == (REGIONS, 1, 14, 14)


def test_attention_is_the_probability_of_pooled_logits():
    logits = torch.zeros(1, 28, 28)
    logits[0, 0, :2] = torch.tensor([4.0, 8.0])
    assert float(vrsp.attention(logits)[0, 0, 0, 0]) == pytest.approx(1 / (1 + math.exp(-3)))
    assert float(vrsp.attention(logits)[0, 0, 1, 1]) == 0.5


def test_each_mask_is_refined_by_the_other_with_the_same_weights(features, truth):
    vrsp_head = head()
    said, labels = vrsp_head.passes(features, truth.labels), truth.labels

    def run(part, inputs):
        return vrsp.run_head(part, inputs, labels).logits

    coarse = run(vrsp_head.amodal, features)
    torch.testing.assert_close(said.coarse_amodal.logits, coarse)
    torch.testing.assert_close(said.coarse_visible.logits, run(vrsp_head.visible, features))
    seen = run(vrsp_head.visible, features * torch.sigmoid(functional.avg_pool2d(coarse, 2))[:, None])
    torch.testing.assert_close(said.visible.logits, seen)
    attended = features * torch.sigmoid(functional.avg_pool2d(seen, 2))[:, None]
    # without codes, the shapes are the coarse mask itself
    shapes = functional.avg_pool2d(torch.sigmoid(coarse), 2)[:, None].expand(-1, 2, -1, -1)
    joined = torch.cat([attended, shapes], dim=1)
    fused = functional.conv2d(joined, vrsp_head.fuse.weight, vrsp_head.fuse.bias, padding=1)  # what is below 0 stays
    torch.testing.assert_close(said.amodal.logits, run(vrsp_head.amodal, fused))
    recognised = vrsp_head.classify(features * torch.sigmoid(functional.avg_pool2d(seen, 2))[:, None])
    torch.testing.assert_close(said.class_logits, recognised)


def test_masks_in_use_are_the_refined_ones(features, truth):
    vrsp_head = head()
    said = vrsp_head.passes(features, truth.labels)
    amodal, visible = vrsp_head.masks(features, truth.labels)
    torch.testing.assert_close(amodal, said.amodal.logits)
    torch.testing.assert_close(visible, said.visible.logits)


@pytest.mark.parametrize(
    ("query", "seen"),
    [("probability", torch.sigmoid), ("mask", lambda x: (x > 0).float()), ("logits", lambda x: x)],
    ids=["probability", "mask", "logits"],
)
def test_query_of_the_codebook(query, seen, features, truth):
    vrsp_head = head(query=query)
    said = vrsp_head.passes(features, truth.labels)
    torch.testing.assert_close(said.shapes[:, 0], seen(said.coarse_amodal.logits.detach()))
    assert not said.shapes.requires_grad


def test_losses_are_those_of_equation_6(features, truth):
    vrsp_head = head(true_class_weight=0)
    said = vrsp_head.passes(features, truth.labels)
    losses = vrsp_head.losses(features, truth)

    def each(logits, target):
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2))

    seen_well = mask_iou(said.coarse_visible.logits, truth.visible)
    whole_well = mask_iou(said.coarse_amodal.logits, truth.amodal)
    refined_well = mask_iou(said.visible.logits, truth.visible)
    of_classes = functional.cross_entropy(said.class_logits, truth.labels, reduction="none")

    def match(coarse, refined):
        return sum(
            weight * (1 - functional.cosine_similarity(f.flatten(1), g.flatten(1))).mean()
            for weight, f, g in zip((0.01, 0.05), coarse.features, refined.features, strict=True)
        )

    by_hand = {
        "loss_mask_coarse_amodal": each(said.coarse_amodal.logits, truth.amodal).mean(),
        "loss_mask_coarse_visible": each(said.coarse_visible.logits, truth.visible).mean(),
        "loss_mask_amodal": (seen_well * each(said.amodal.logits, truth.amodal)).mean(),
        "loss_mask_visible": (whole_well * each(said.visible.logits, truth.visible)).mean(),
        "loss_reclassify": 0.25 * (refined_well * of_classes).mean(),
        "loss_match_amodal": match(said.coarse_amodal, said.amodal),
        "loss_match_visible": match(said.coarse_visible, said.visible),
    }
    assert {name: value(loss) for name, loss in losses.items()} == pytest.approx(
        {name: value(loss) for name, loss in by_hand.items()}, rel=1e-5
    )


def test_warm_up_weights_follow_the_iou(features, truth):
    """A perfect coarse visible mask lets the refined amodal one be learnt fully, a wrong one not at all."""
    vrsp_head = head()
    said = vrsp_head.passes(features, truth.labels)
    perfect, wrong = 2 * truth.visible - 1, 1 - 2 * truth.visible
    half = perfect.clone()
    half[2:] = wrong[2:]
    changed = vrsp.Passes(**{**vars(said), "coarse_visible": vrsp.Pass(half, said.coarse_visible.features)})
    of_amodal, of_visible = vrsp_head.weights(changed, truth)
    assert of_amodal.tolist() == [1, 1, 0, 0, 0]
    torch.testing.assert_close(of_visible, mask_iou(said.coarse_amodal.logits, truth.amodal))
    assert head(warm_up=False).weights(changed, truth) == (None, None)


def test_reclassification_of_the_true_part_is_added(features, truth):
    without, told = (value(head(true_class_weight=w).losses(features, truth)["loss_reclassify"]) for w in (0, 0.1))
    vrsp_head = head()
    seen = functional.avg_pool2d(truth.visible, 2)[:, None]
    of_truth = functional.cross_entropy(vrsp_head.classify(features * seen), truth.labels)
    assert told - without == pytest.approx(0.25 * 0.1 * value(of_truth), rel=1e-4)


def test_their_codes_pass_by_truth(features, truth):
    """Its visible half is compared with the visible truth; their code compares it with the whole."""
    vrsp_head = head(matching="truth", truth_pass_weight=1.0)
    losses = vrsp_head.losses(features, truth)
    said = vrsp_head.passes(features, truth.labels)
    whole = functional.avg_pool2d(truth.amodal, 2)[:, None]
    told = vrsp.run_head(vrsp_head.visible, features * whole, truth.labels)
    assert value(losses["loss_mask_visible_by_truth"]) == pytest.approx(
        value(mask_loss(told.logits, truth.visible, truth))
    )
    terms = zip((0.01, 0.05), said.coarse_visible.features, told.features, strict=True)
    expected = sum(weight * matching_loss(f, g) for weight, f, g in terms)
    assert value(losses["loss_match_visible"]) == pytest.approx(value(expected), rel=1e-5)
    assert "loss_mask_visible_by_truth" not in head().losses(features, truth)


@pytest.mark.parametrize("changes", [{"neighbours": 0}, {"matching_weights": (0, 0)}, {"visible_attention": False}])
def test_parts_that_are_off(changes, features, truth):
    losses = head(**changes).losses(features, truth)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert any(name.startswith("loss_match") for name in losses) == ("matching_weights" not in changes)


def test_refined_masks_teach_what_they_are_attended_by(features, truth):
    """Attention is not detached: the refined visible loss moves the amodal head."""
    vrsp_head = head()
    vrsp_head.losses(features, truth)["loss_mask_visible"].backward()
    assert float(vrsp_head.amodal.conv_logits.weight.grad.abs().sum()) > 0
    assert all(p.grad is None for p in vrsp_head.codebook.parameters())


def test_no_regions_and_every_weight_has_a_gradient():
    """Or processes would wait for each other for ever."""
    vrsp_head = head()
    none = MaskTruth(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 28, 28), torch.zeros(0, 28, 28))
    losses = vrsp_head.losses(torch.zeros(0, CHANNELS, 14, 14), none)
    assert all(value(loss) == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in vrsp_head.parameters() if p.requires_grad)


def test_rescoring_by_hand():
    s, p, d = torch.tensor([0.9, 0.5]), torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
    code = vrsp.rescored(s, p, d, "code", 2.0)
    second = (0.5 * (0.6 + 0.4 * 0.5) * math.log(1.5) / math.log(2)) ** (1 / 3)
    assert code.tolist() == pytest.approx([0.9 ** (1 / 3), second])
    assert vrsp.rescored(s, p, d, "product", 2.0).tolist() == pytest.approx([0.9, 0.5 * 0.5 * 0.5])
    assert vrsp.rescored(s, p, None, "code", 2.0).tolist() == pytest.approx([0.9**0.5, (0.5 * 0.8) ** 0.5])
    assert vrsp.rescored(s, None, d, "code", 3.0)[1] == pytest.approx((0.5 * math.log(2.5) / math.log(3)) ** 0.5)
    assert vrsp.rescored(s, p, d, "off", 2.0).tolist() == s.tolist()
    assert float(vrsp.rescored(s[:1], None, torch.tensor([1.0]), "code", 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(vrsp.rescored(s[:1], None, torch.tensor([1.0]), "code", 1.5)) == 0  # log of less than 1


def test_a_paper_figure_3():
    """Box A, score 0.99 and similarity 0.69, loses to box B, 0.97 and 0.91."""
    s, similarity = torch.tensor([0.99, 0.97]), torch.tensor([0.69, 0.91])
    assert vrsp.rescored(s, None, 1 - similarity, "product", 2.0).tolist() == pytest.approx([0.683, 0.883], abs=1e-3)


class Candidates:
    """A head on regions of two candidates of one object, the second with the ordinary shape."""

    def __init__(self, rescoring):
        settings = DetectorSettings(
            model="vrsp", channels=CHANNELS, backbone="resnet18_small", rpn_proposals=10,
            vrsp={"codes": 4, "rescoring": rescoring, "rescore_by_class": False},
        )  # fmt: skip
        config = model_table.model_config(settings, CLASSES, "GN")
        from mmengine.config import ConfigDict

        torch.manual_seed(0)
        self.head = MODELS.build(
            ConfigDict({**config["roi_head"], "train_cfg": None, "test_cfg": config["test_cfg"]["rcnn"]})
        )

    def scores(self, monkeypatch, distances):
        from mmengine.structures import InstanceData

        boxes = torch.tensor([[10.0, 10, 50, 50], [12.0, 10, 52, 50]])
        dense = torch.tensor([[0.9, 0.02, 0.03, 0.05], [0.8, 0.1, 0.02, 0.08]])
        found = InstanceData(bboxes=boxes.repeat(1, CLASSES), scores=dense)
        parent = type(self.head).__mro__[2]
        monkeypatch.setattr(parent, "predict_bbox", lambda *args, **kwargs: [found], raising=False)
        asked = []

        def distance(masks, labels):
            asked.extend(labels.tolist())
            return torch.tensor(distances)[: len(labels)]

        monkeypatch.setattr(self.head.mask_head.codebook, "distance", distance)
        levels = [torch.zeros(1, CHANNELS, 64 // 2**k, 64 // 2**k) for k in range(4)]
        with torch.no_grad():
            [result] = self.head.predict_bbox(
                levels, [{"img_shape": (64, 64)}], [None], rcnn_test_cfg=self.head.test_cfg
            )
        return result, asked


def test_candidates_are_rescored_before_overlapping_ones_are_left_out(monkeypatch):
    result, asked = Candidates("product").scores(monkeypatch, [0.5, 0.0, 0.1])
    assert asked == [0, 0, 1]  # box by box, only classes above the threshold of 0.05
    assert result.bboxes[0].tolist() == [12, 10, 52, 50]  # the second: 0.8 > 0.9 * 0.5
    assert result.scores.tolist() == pytest.approx([0.8, 0.09]) and result.labels.tolist() == [0, 1]


def test_nothing_above_the_threshold(monkeypatch):
    candidates = Candidates("code")
    candidates.head.test_cfg.score_thr = 0.95
    result, asked = candidates.scores(monkeypatch, [0.0])
    assert len(result.bboxes) == len(result.scores) == len(result.labels) == 0 and not asked


def test_no_candidates():
    from mmengine.structures import InstanceData

    roi_head = Candidates("code").head
    levels = [torch.zeros(1, CHANNELS, 64 // 2**k, 64 // 2**k) for k in range(4)]
    nothing = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64))
    [found] = roi_head.predict_bbox(
        levels, [{"img_shape": (64, 64)}], [nothing], rcnn_test_cfg=roi_head.test_cfg
    )  # fmt: skip
    assert found.bboxes.shape == (0, 4) and len(found.scores) == len(found.labels) == 0


def test_no_detections_have_no_masks():
    from mmengine.structures import InstanceData

    nothing = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64))
    meta = {"ori_shape": (30, 40), "img_shape": (60, 80), "scale_factor": (2.0, 2.0)}
    levels = [torch.zeros(2, CHANNELS, 64 // 2**k, 64 // 2**k) for k in range(4)]
    roi_head = Candidates("off").head
    for found in roi_head.predict_mask(levels, [meta, meta], [nothing.clone(), nothing.clone()], rescale=True):
        assert found.masks.shape == found.visible_masks.shape == (0, 30, 40)
    one = InstanceData(bboxes=torch.tensor([[4.0, 8, 40, 50]]), scores=torch.ones(1), labels=torch.zeros(1).long())
    empty, full = roi_head.predict_mask(levels, [meta, meta], [nothing.clone(), one], rescale=True)
    assert empty.visible_masks.shape == (0, 30, 40) and full.visible_masks.shape == full.masks.shape == (1, 30, 40)
    np.testing.assert_allclose(full.bboxes.numpy(), [[2, 4, 20, 25]])  # in the photo as it was, once
