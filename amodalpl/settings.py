"""Every setting of the pipeline: declared once, checked once, shown by `--help`, written to each `run.json`.

A file in `configs/` is flat and complete YAML with one section per class here; `--set section.key=value` overrides it.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

DetectorModel = Literal["mask-rcnn", "mask-rcnn-c8", "orcnn", "vrsp", "boxinst", "bbtp", "blade"]
Method = Literal["layered", "pcnet-m", "asbu", "boundary-pcnet-m", "uncertainty-pcnet-m", "asbu-ubce", "asbu-gaussian"]
Fraction = tuple[float, float]


class Settings(BaseModel):
    """Base of all sections: frozen, unknown keys are errors; names of earlier versions are taken for today's.

    Attributes:
        renamed: today's name of a setting by a former one.
        retired: settings of earlier versions that changed no result, and are passed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}
    retired: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _todays_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for old, new in cls.renamed.items():
            if old in values and new in values:
                raise ValueError(f"{old} is now called {new}: give one of them")
        return {cls.renamed.get(name, name): value for name, value in values.items() if name not in cls.retired}


def _require_rising(settings: Settings, *names: str) -> None:
    for name in names:
        low, high = getattr(settings, name)
        if not 0 < low <= high:
            raise ValueError(f"{name}: expected 0 < least <= most, got {low}, {high}")


def _require_odds(settings: Settings, name: str) -> None:
    odds = getattr(settings, name)
    if min(odds) < 0 or sum(odds) <= 0:
        raise ValueError(f"{name}: expected odds, not all of them 0, got {odds}")


class LayerSettings(Settings):
    """The richer training sample: one to several neighbours, in front and behind; see `synthesis/layers.py`."""

    renamed = {
        "told": "front_only_probability",
        "alone": "single_neighbour_probability",
        "redrawn": "contour_noise_probability",
    }

    neighbours: tuple[float, ...] = Field((0.5, 0.3, 0.2), min_length=1, description="odds of 1, 2, 3 ... neighbours")
    front_probability: float = Field(0.6, ge=0, le=1, description="chance that a neighbour is in front of the object")
    unmasked: float = Field(
        0.0, ge=0, le=1, description="chance that the network is not shown the mask of a neighbour in front"
    )
    hidden: Fraction = Field((0.01, 0.6), description="least share hidden by a neighbour, most hidden by all")
    size: Fraction = Field((0.4, 2.0), description="least and most size of a neighbour relative to the object")
    natural_sizes: float = Field(0.25, ge=0, le=1, description="chance that a neighbour keeps the size of its photo")
    rotation_deg: float = Field(15.0, ge=0, le=180, description="largest turn of a neighbour")
    front_only_probability: float = Field(
        0.35, ge=0, le=1, description="chance that only neighbours in front are shown, as when ordered"
    )
    single_neighbour_probability: float = Field(
        0.25, ge=0, le=1, description="chance that one neighbour is shown alone, as when ordering"
    )
    contour_noise_probability: float = Field(
        0.3, ge=0, le=1, description="chance of loose, tight or coarse contours, with gaps closed"
    )
    contour_px: int = Field(2, ge=1, description="largest amount of such changes, in patch pixels")
    shift: float = Field(0.1, ge=0, le=1, description="largest shift of the crop around the visible part, in its sides")
    zoom_out: Fraction = Field((0.8, 1.5), description="least and most widening of the crop, as it widens in use")
    tilt_deg: float = Field(0.0, ge=0, le=180, description="largest turn of the whole sample")
    stretch: float = Field(
        1.0, ge=1, le=4, description="largest factor by which the whole sample becomes wider or taller, its area kept"
    )
    tries: int = Field(30, ge=1, description="placements tried for one neighbour")

    @model_validator(mode="after")
    def _ranges(self) -> LayerSettings:
        _require_rising(self, "hidden", "size", "zoom_out")
        _require_odds(self, "neighbours")
        if self.hidden[1] >= 1:
            raise ValueError(f"hidden: expected something to stay visible, got {self.hidden[1]}")
        front, single = self.front_only_probability, self.single_neighbour_probability
        if front + single > 1:
            raise ValueError(
                "front_only_probability and single_neighbour_probability: expected at most 1 together, "
                f"got {front} and {single}"
            )
        return self


class AisSettings(Settings):
    """The training sample of Li and Malik 2016; see `synthesis/ais.py`. The numbers are the paper's."""

    pasted: tuple[float, ...] = Field((1.0, 1.0, 1.0), min_length=1, description="odds of 0, 1, 2 ... pasted objects")
    patch: Fraction = Field((0.7, 2.0), description="least and most side of the patch relative to the object's box")
    patch_overlap: float = Field(0.7, gt=0, le=1, description="least share of the box's sides within the patch")
    size: Fraction = Field((0.5, 1.0), description="shorter side of a pasted object over the patch's; 0.75 on average")
    visible: float = Field(0.3, gt=0, le=1, description="least visible share of the object, after each step")
    filled: float = Field(0.1, ge=0, lt=1, description="least share of the patch that the visible part fills")
    jitter: float = Field(0.1, ge=0, lt=1, description="largest change of the visible part's box, in its sides")
    jitter_overlap: float = Field(0.75, gt=0, le=1, description="least share of its sides within the jittered box")
    tries: int = Field(20, ge=1, description="tries of one step before it is left out")

    @model_validator(mode="after")
    def _ranges(self) -> AisSettings:
        _require_rising(self, "patch", "size")
        _require_odds(self, "pasted")
        if self.patch_overlap > self.patch[0]:
            raise ValueError(f"patch_overlap: a patch of {self.patch[0]} cannot cover {self.patch_overlap} of a side")
        if self.jitter_overlap > 1 - self.jitter:
            raise ValueError(
                f"jitter_overlap: a box of {1 - self.jitter:g} cannot cover {self.jitter_overlap} of a side"
            )
        return self


class OccludedSettings(Settings):
    """Test photos of objects that unannotated things hide; see `synthesis/occluded_objects.py`."""

    objects: int = Field(100, ge=1, description="objects of held-out photos that are shown, each in ten levels")
    least_side_px: int = Field(32, ge=1, description="shorter side of the box of an object, at least")
    context: float = Field(
        0.5, gt=0, le=4, description="surroundings: the box widened by this share of its sides, each way"
    )
    size: Fraction = Field((0.3, 1.2), description="least and most size of a pasted occluder relative to the object")
    tries: int = Field(300, ge=1, description="placements tried for one photo")

    @model_validator(mode="after")
    def _ranges(self) -> OccludedSettings:
        _require_rising(self, "size")
        return self


class SynthesisSettings(Settings):
    """The cut-out bank, the training samples drawn from it, and the frozen hold-out."""

    recipe: Literal["method", "pair", "layers", "ais", "occluded-objects"] = Field(
        "method",
        description="training samples: pair (PCNet-M, ASBU), layers (richer), ais (Li and Malik), or the method's own; "
        "or occluded-objects, test photos for methods that are given boxes",
    )
    only_unoccluded: bool = Field(
        False, description="training samples only from objects that nothing is near and no border of the photo cuts off"
    )
    patch_px: int = Field(256, ge=16, le=1024, multiple_of=16, description="side of the square training patch")
    enlarge_box: float = Field(3.0, ge=1, description="area of the crop over area of the box; 3.0 in the PCNet configs")
    front_probability: float = Field(0.8, ge=0, le=1, description="chance of case 1 (the object is hidden), not case 2")
    overlap_fraction: Fraction = Field((0.4, 1.0), description="least and most overlap of the two patches when placing")
    cut_fraction: Fraction = Field((0.001, 0.9), description="accepted hidden share of the object, least and most")
    placement_tries: int = Field(100, ge=1, description="placements tried before another occluder is drawn")
    flip_probability: float = Field(0.5, ge=0, le=1, description="horizontal flip, for each object on its own")
    shift: float = Field(0.2, ge=0, le=1, description="largest shift of the crop, in its sides; 0.2 in the configs")
    scale: Fraction = Field((0.8, 1.2), description="least and most zoom of the crop; 0.8-1.2 in the configs")
    boundary_px: int = Field(5, ge=3, le=255, description="odd side of the square that grows masks for ASBU's boundary")
    with_image: bool = Field(False, description="keep image crops in the bank, so that completers may look at them")
    feather_px: float = Field(1.5, ge=0, description="softness of a pasted occluder's edge, in patch pixels")
    photo_wear: float = Field(
        0.5,
        ge=0,
        le=1,
        description="chance of each of blur, noise, compression and another brightness of a training photo as a whole, "
        "so that the seams of pasting tell less",
    )
    cutout_px: int = Field(512, ge=32, description="longest side kept of a cut-out; larger ones are reduced")
    min_side_px: float = Field(5.0, ge=1, description="smallest crop side that is used; 5 in the PCNet code")
    layers: LayerSettings = Field(LayerSettings(), description="of the recipe layers")
    ais: AisSettings = Field(AisSettings(), description="of the recipe ais")
    occluded: OccludedSettings = Field(OccludedSettings(), description="of the recipe occluded-objects")
    photos: int | None = Field(
        None, ge=2, description="photos with objects that are used at all, drawn by the seed; every one unless given"
    )
    holdout_fraction: float = Field(0.15, gt=0, lt=1, description="share of the photos that training never sees")
    holdout_scenes: int = Field(3, ge=1, description="hold-out scenes drawn from each held-out photo")
    holdout_occluded: float = Field(0.8, ge=0, le=1, description="share of hold-out targets that get an occluder")
    holdout_placement: Literal["wide", "pairs"] = Field(
        "wide",
        description="where occluders of the hold-out are: wide (of many sizes, anywhere over the object or beside it), "
        "pairs (as in the training samples of PCNet-M and ASBU: crops of one size, one shifted)",
    )
    holdout_size: Fraction = Field(
        (0.5, 1.5), description="size of a pasted occluder relative to what it hides, of `wide`"
    )
    holdout_hidden: Fraction = Field((0.02, 0.5), description="least and most hidden share of a hold-out target")
    holdout_unmasked: float = Field(
        0.0, ge=0, le=1, description="share of the hold-out's occluders that are in the photo and have no mask"
    )
    holdout_whole: bool = Field(
        False,
        description="hold-out scenes only from objects that nothing is near and no border of the photo cuts off, so "
        "that nothing but what is pasted hides any of them",
    )

    @model_validator(mode="after")
    def _ranges(self) -> SynthesisSettings:
        for name in ("overlap_fraction", "cut_fraction", "scale", "holdout_size", "holdout_hidden"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name}: expected 0 <= least <= most, got {low}, {high}")
        if self.scale[0] <= 0 or self.overlap_fraction[0] <= 0 or self.overlap_fraction[1] > 1:
            raise ValueError("scale must be above 0 and overlap_fraction within (0, 1]")
        if self.boundary_px % 2 == 0:
            raise ValueError(f"boundary_px: expected an odd number, got {self.boundary_px}")
        return self


class CompleterSettings(Settings):
    """Which completer, and the size of its network."""

    method: Method = Field("layered", description="layered (ours), pcnet-m, asbu, or an ablation of the ASBU paper")
    width: int = Field(32, ge=4, le=1024, description="channels of the UNet's first level; 32 in the papers")
    image: bool = Field(False, description="also give the network the photo, with the occluder pasted in training")
    photo_encoder: Literal["mobilenet_v2"] | None = Field(
        None,
        description="with `image`: a frozen network of ImageNet through which the photo is seen, not pixel by pixel",
    )
    photo_weights: str | None = Field(
        None,
        description="file of that network's ImageNet weights, by MMDetection's names; its training starts from it",
    )
    init_gain: float | None = Field(
        None, gt=0, description="gain of the Xavier start of each convolution; the method's own unless given"
    )

    @model_validator(mode="after")
    def _goes_together(self) -> CompleterSettings:
        if self.photo_encoder and not self.image:
            raise ValueError("photo_encoder: looks at the photo, which is not given; set image=true too")
        if self.photo_weights and not self.photo_encoder:
            raise ValueError("photo_weights: expected the photo_encoder they are of; set photo_encoder=mobilenet_v2")
        return self


class TrainingSettings(Settings):
    """How a completer is trained."""

    retired = frozenset({"synthesis_device"})  # of versions that could make samples on a GPU

    steps: int = Field(
        56_000,
        ge=0,
        description="optimiser steps; 56 000 for COCOA, 32 000 for KINS; 0 keeps the weights of --init and chooses how "
        "to use them",
    )
    batch_size: int = Field(32, ge=1, description="patches per step and process")
    workers: int = Field(2, ge=0, description="loader processes; the samples are the same for any number")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd in the papers; adamw for short runs")
    learning_rate: float = Field(1e-3, gt=0, description="1e-3 in both codes (the ASBU paper says 1e-4)")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0, description="1e-4 in the papers")
    schedule: Literal["constant", "steps", "one-cycle"] = Field("constant", description="of the learning rate")
    milestones: tuple[int, ...] = Field((), description="steps at which `steps` divides the learning rate by ten")
    inside_weight: float | None = Field(
        None, gt=0, description="weight of the loss under the occluder; the method's own unless given"
    )
    outside_weight: float | None = Field(
        None,
        gt=0,
        description="weight elsewhere; 1 as in the papers, or 10 where synthesis.layers.unmasked teaches what things "
        "without a mask hide, unless given",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the network")
    validate_every: int = Field(2000, ge=1, description="steps between two scores on the hold-out")
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints; a killed run loses no more")


class ClassSettings(Settings):
    """What is known of one class before anybody looks at a photo."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="probability above which a pixel belongs to an object of this class"
    )
    keep_modal: bool = Field(False, description="never complete objects of this class, with the flag `kept_modal`")
    in_front_of: tuple[str, ...] = Field(
        (), description="classes that this one always hides, where two objects meet and one of them hides the other"
    )

    @field_validator("in_front_of", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Take classes that are called by a number, too."""
        numbers = isinstance(value, (list, tuple)) and any(type(name) in (int, float) for name in value)
        return [f"{name:g}" if type(name) in (int, float) else name for name in value] if numbers else value


class LabelSettings(Settings):
    """How a completer is used to label photos."""

    renamed = {"tight_px": "contour_inset_px", "close_looks": "contact_crops"}

    batch_size: int = Field(32, ge=1, description="crops per call of the network")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="arithmetic of the network; auto is fp16 on a GPU, which moves probabilities by 0.002 at most",
    )
    gap_px: int | None = Field(
        None, ge=0, description="free image pixels between two masks that still count as contact; measured unless given"
    )
    contour_inset_px: int | None = Field(
        None,
        ge=0,
        description="by how many image pixels masks are grown before anything looks at them, because their contours "
        "are drawn too tight; half of the typical gap, measured unless given",
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="probability above which a pixel belongs to an object; the completer's unless given",
    )
    unmasked_threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="the same where no mask is, for what hides there without one, of objects seen in one piece and in "
        "several; 1 lets nothing grow there; the completer's two unless given",
    )
    fill: Literal["never", "pieces", "hollow"] = Field(
        "never",
        description="grow labels to their convex hull, behind things without a mask: those in several pieces, or also "
        "those that fill little of it, which suits files whose objects are known to be hidden",
    )
    order_threshold: float | None = Field(
        None, gt=0, lt=1, description="the same, where growth tells who is in front; the completer's unless given"
    )
    occluders: Literal["ancestors", "parents", "neighbours"] = Field(
        "ancestors",
        description="who may hide an object: all in front of it by the order, the next in front, or all near",
    )
    order_from: Literal["pairs", "completions"] | None = Field(
        None,
        description="recover the order from completions of each pair alone (both codes), or from those behind all "
        "neighbours (ours; the text of the ASBU paper); the method's own unless given",
    )
    order_rule: Literal["contact", "inside", "whole"] | None = Field(
        None,
        description="compare completions along the contact (ours), within the other's mask (the codes) or as a whole "
        "(ASBU eq. 3); the method's own unless given",
    )
    contact_crops: tuple[PositiveFloat, ...] | None = Field(
        None,
        description="further crops around contacts whose order is uncertain (rule contact), in sides of the contact's "
        "box; [] for none; the completer's unless given",
    )
    behind_neighbours: bool = Field(
        True, description="let masks grow only behind neighbours, since other pixels are seen to be something else"
    )
    max_growth: float | None = Field(
        None,
        gt=1,
        description="largest whole over visible area, grown where masks are tight; a label that would be larger keeps "
        "its most probable pixels, with the flag `runaway`; any size unless given",
    )
    refit: bool | None = Field(
        None,
        description="choose thresholds and calibration of the completer anew, on occlusions made of your own masks; "
        "unless given, only of the one that comes with the package",
    )
    images_per_part: int = Field(16, ge=1, description="photos per saved part; a killed run loses at most one part")
    workers: int | None = Field(
        None,
        ge=1,
        description="processes that label; the labels are the same. Unless given one on a CPU, up to eight on a GPU, "
        "as cores and photos allow",
    )
    boxes: Literal["visible", "whole"] = Field(
        "visible", description="what the boxes are of that a detector is asked about (`pseudolabel --detector`)"
    )
    low_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="uncertainty above which labels carry `low_confidence`; 0.25 unless given, where they expect an "
        "IoU below 0.75",
    )
    per_class: Mapping[str, ClassSettings] = Field(
        {},
        description="by name of a class: `threshold`, `keep_modal` (never complete it) and `in_front_of` (classes that "
        "it always hides); no part of a completer's training or scores",
    )

    @model_validator(mode="after")
    def _classes_in_line(self) -> LabelSettings:
        behind = TopologicalSorter({name: ours.in_front_of for name, ours in self.per_class.items()})
        try:
            behind.prepare()
        except CycleError as circle:
            line = " in front of ".join(reversed(circle.args[1]))
            raise ValueError(f"per_class: expected an order of classes without a circle, got {line}") from None
        return self

    @property
    def near_px(self) -> int:
        """The tolerance for gaps; 2, which suits hand-drawn polygons, where it is neither given nor measured."""
        return 2 if self.gap_px is None else self.gap_px

    @property
    def grown_px(self) -> int:
        """By how much masks are grown; 0 where it is neither given nor measured."""
        return self.contour_inset_px or 0

    def measured(self, gap_px: int, contour_inset_px: int) -> LabelSettings:
        """Return the settings; gap settings that are not given take the measured values."""
        gap_px = gap_px if self.gap_px is None else self.gap_px
        contour_inset_px = (
            min(contour_inset_px, gap_px // 2) if self.contour_inset_px is None else self.contour_inset_px
        )
        return self.model_copy(update={"gap_px": gap_px, "contour_inset_px": contour_inset_px})


class OrcnnSettings(Settings):
    """ORCNN's loss on the hidden part, which is off by default: it costs whole masks more than it brings."""

    difference: Literal["logits", "probability"] = Field(
        "probability",
        description="the hidden part as the difference of the heads' probabilities, which agrees with the other two "
        "losses; or of their logits, a - max(v, 0), as published, which presses whole masks below the threshold",
    )
    hidden_weight: float = Field(
        0.0, ge=0, description="of the loss on the hidden part; 1 in the paper; 0 gave a higher AP in every comparison"
    )


class VrspSettings(Settings):
    """VRSP-Net's parts; defaults are the paper's, where its code differs it is said."""

    codes: int = Field(1024, ge=1, description="codes of each class in the codebook, at most")
    shape_steps: int = Field(1000, ge=1, description="steps of the mask auto-encoder's training")
    neighbours: int = Field(16, ge=0, description="shapes of the class shown to the refinement; 0 shows none")
    query: Literal["probability", "mask", "logits"] = Field(
        "probability", description="what of the coarse mask looks for shapes; their code takes logits"
    )
    visible_attention: bool = Field(True, description="refine the whole mask from features of the visible part")
    class_attention: Literal["probability", "logits"] = Field(
        "probability", description="what of the visible mask the reclassification's features get; their code: logits"
    )
    class_weight: float = Field(0.25, ge=0, description="of the reclassification; their D2SA config has 0.1")
    true_class_weight: float = Field(
        0.1, ge=0, description="of the same on features of the true visible part, as in their code; 0 in the paper"
    )
    matching: Literal["predicted", "truth"] = Field(
        "predicted", description="features to be matched: of the refined pass; their code: of one told the truth"
    )
    matching_weights: tuple[float, float] = Field(
        (0.01, 0.05), description="of the last convolution's and the upsampling's features; [0, 0] for none"
    )
    truth_pass_weight: float = Field(0.0, ge=0, description="of mask losses told the true attention; 1 in their code")
    warm_up: bool = Field(True, description="weigh refined losses by how good the mask was that they build on")
    rescoring: Literal["code", "product", "off"] = Field(
        "code", description="how scores are refined: their code's geometric mean, the paper's product, or not"
    )
    rescore_by_class: bool = Field(
        True, description="refine scores by the reclassification; off for KINS in their code"
    )
    rescore_by_shape: bool = Field(True, description="refine scores by the distance to the nearest shape")
    alpha: float = Field(2.0, gt=1, description="of the rule `code`; 3 for KINS")


class BoxInstSettings(Settings):
    """BoxInst's masks, learnt from boxes; BLADE builds on them. Defaults are MMDetection's where nothing is said."""

    features: int = Field(16, ge=1, description="channels of the features that mask heads see")
    inner_channels: int = Field(
        8, ge=1, description="of the mask heads' inner layers; 8 in the authors' code, 16 in MMDetection's"
    )
    distance: int = Field(2, ge=1, description="of neighbours, in cells of 4 pixels; 2 leaves one cell between them")
    colour_threshold: float = Field(
        0.3, gt=0, le=1, description="least similarity of neighbours of one colour; lower it for noise"
    )
    warm_up: float = Field(
        1 / 9, ge=0, le=1, description="share of the steps until neighbours count fully; 10 000 of 90 000 as published"
    )
    filled_start: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the steps over which masks are also taught to fill their boxes, less and less; 0 as "
        "published, but then short trainings, or those from random weights, end in lines along two sides of the boxes",
    )
    masks_per_photo: int = Field(64, ge=1, description="masks of a photo that are learnt from in a step, at most")


class BbtpSettings(Settings):
    """BBTP's loss beside that of tight boxes."""

    neighbour_weight: float = Field(
        0.05, ge=0, description="of differences between neighbouring pixels; 0.05 as published"
    )


class BladeSettings(Settings):
    """BLADE's losses on BoxInst's masks; what the paper leaves open is chosen here, with the reason."""

    box: Literal["visible", "whole"] = Field(
        "visible", description="that FCOS regresses; not told, but in the paper's test the visible box is given"
    )
    threshold: float = Field(
        0.5, ge=0, le=1, description="t, probability above which a pixel is seen; not told, 0.5 is where masks are cut"
    )
    amodal_weights: tuple[float, float, float] = Field(
        (2.0, 1.0, 1.0),
        description="of the whole mask's projection, pairwise and connectivity losses; the paper's best",
    )
    region_weight: float = Field(
        1.0, ge=0, description="of the overlapping region's loss; not told, 1 as the visible mask's"
    )
    neighbour_weight: float = Field(
        1.0, ge=0, description="in the connectivity loss; 0 is the paper's ablation without"
    )
    uniform_weight: float = Field(
        1.0, ge=0, description="K; not told, 1 is no weight; 0 is the paper's ablation without"
    )
    detach_visible: bool = Field(
        True,
        description="the uniform loss moves the whole mask only; not told, but else a smaller visible mask is cheapest",
    )
    fusion: bool = Field(
        True, description="whole mask in the overlapping region, visible one outside; off: the paper's ablation without"
    )


class TrustSettings(Settings):
    """How far labels are believed in training; off by default."""

    pixels: float = Field(
        0.0, ge=0, le=1, description="share of the mask loss that a pixel loses which is as likely in as out"
    )
    ignore_above: float = Field(
        1.0, ge=0, le=1, description="uncertainty above which pixels are not learnt at all; 1 ignores none"
    )
    labels: float = Field(
        0.0, ge=0, le=1, description="share of the mask losses that an object loses whose label is surely wrong"
    )


class DetectorSettings(Settings):
    """A detector by MMDetection on the label file."""

    model: Literal[DetectorModel, "mmdet-config"] = Field(
        "mask-rcnn",
        description="which detector; `amodalpl train-detector --list` has them; mmdet-config where --mmdet-config is "
        "given",
    )
    backbone: Literal["resnet50", "mobilenet_v2", "resnet18_small"] = Field(
        "resnet50", description="resnet50 as in the paper, mobilenet_v2, or a slim ResNet-18 for drawn scenes"
    )
    class_agnostic: Literal[True, False, "auto"] = Field(
        False,
        description="one foreground class, as the paper does for COCOA; auto: where classes have too few objects",
    )
    boxes_of: Literal["masks", "file"] = Field(
        "masks",
        description="what models learn from that need boxes only: the boxes of the masks, or those that the file "
        "states (bbox, amodal_bbox; a_bbox and i_bbox of KINS), for which no masks are needed",
    )
    steps: int = Field(90_000, ge=1, description="optimiser steps; 90 000 of 16 photos is the 1x schedule")
    batch_size: int = Field(2, ge=1, description="photos per step and process; 2 in the ASBU paper")
    workers: int = Field(2, ge=0, description="loader processes")
    learning_rate: float = Field(0.0025, gt=0, description="0.02 for 16 photos, scaled to the batch")
    optimizer: Literal["sgd", "adamw", "config"] = Field(
        "sgd",
        description="sgd in the paper; adamw for short runs; config: that of --mmdet-config, its rate for our batch",
    )
    weight_decay: float = Field(1e-4, ge=0, description="mmdetection's default")
    warmup_steps: int = Field(500, ge=0, description="linear warm-up; mmdetection's default")
    milestones: tuple[float, ...] = Field((2 / 3, 11 / 12), description="shares of the steps at which the rate drops")
    image_scale: tuple[int, int] = Field((1333, 800), description="longest and shorter side after resizing")
    frozen_stages: int = Field(1, ge=-1, le=4, description="backbone stages that stay as loaded; -1 trains all")
    rpn_proposals: int = Field(1000, ge=10, description="proposals kept per photo in training and testing")
    roi_samples: int = Field(512, ge=8, description="sampled regions per photo in training")
    channels: int = Field(256, ge=16, multiple_of=16, description="width of the pyramid and the heads")
    score_threshold: float = Field(0.05, ge=0, lt=1, description="detections below it are left out")
    validation_fraction: float = Field(
        0.15, gt=0, lt=1, description="share of photos kept for scoring when no --val is given"
    )
    background_photos: bool = Field(
        False,
        description="photos without any annotation take part and teach what is no object; right only where every "
        "object of the classes is annotated",
    )
    checkpoint_every: int = Field(500, ge=1, description="steps between two checkpoints")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the network")
    mask_scoring: bool = Field(
        False, description="also learn how good masks are; a score is that of the class times the predicted IoU"
    )
    trust: TrustSettings = Field(TrustSettings(), description="how far labels are believed")
    orcnn: OrcnnSettings = Field(OrcnnSettings(), description="of the model orcnn")
    vrsp: VrspSettings = Field(VrspSettings(), description="of the model vrsp")
    boxinst: BoxInstSettings = Field(BoxInstSettings(), description="of the masks of boxinst and blade")
    bbtp: BbtpSettings = Field(BbtpSettings(), description="of the model bbtp")
    blade: BladeSettings = Field(BladeSettings(), description="of the model blade")


class PredictSettings(Settings):
    """How a trained detector is used on photos and videos."""

    score_threshold: float = Field(0.3, ge=0, lt=1, description="detections below it are left out")
    batch_size: int = Field(4, ge=1, description="photos of one size that the network sees together")
    precision: Literal["fp32", "fp16"] = Field("fp32", description="arithmetic of the network; fp16 needs a GPU")
    every_frame: int = Field(1, ge=1, description="of a video, each so many-th frame is looked at")
    photos_per_part: int = Field(16, ge=1, description="photos per saved part; a killed run loses at most one part")


class RefineSettings(Settings):
    """Rounds of self-training: a detector's whole masks beside the labels that it learnt from."""

    rounds: int = Field(3, ge=1, description="most rounds after the first detector")
    match_iou: float = Field(
        0.5, gt=0, le=1, description="least IoU of whole masks for a detection to be a label's object"
    )
    agree_iou: float = Field(0.85, gt=0, le=1, description="IoU from which a detection and a label say the same")
    least_score: float = Field(0.1, ge=0, lt=1, description="detections below it say nothing")
    drop_above: float = Field(
        0.5, ge=0, le=1, description="uncertainty above which a label that no detection matches is dropped"
    )
    least_gain: float = Field(
        0.01,
        ge=0,
        description="AP on the hold-out that a round must bring; the first that does not is the last, and is not taken",
    )
    trust: float = Field(
        1.0, ge=0, le=1, description="detector.trust.labels in all rounds, where that is 0: uncertain labels weigh less"
    )


class CompositionalSettings(Settings):
    """The Bayesian compositional model, learnt from boxes and classes."""

    backbone: Literal["resnext50", "resnet50", "mobilenet_v2"] = Field(
        "resnext50", description="of the features, frozen: resnext50 as in the paper, resnet50, mobilenet_v2 for CPUs"
    )
    concepts: int = Field(512, ge=2, description="visual concepts; fewer where there are few objects")
    concept_rounds: int = Field(150, ge=1, description="most EM steps of the concepts; 150 in the authors' code")
    kappa: float = Field(65.0, gt=0, description="concentration of a concept; 65 in the paper")
    poses: int = Field(8, ge=1, description="mixtures of a class; 8 in the paper; one for every five objects at most")
    outliers: int = Field(5, ge=1, description="models of what may hide an object, beside the general one")
    objects_per_class: int = Field(
        200, ge=1, description="boxes of a class that are learnt from; up to 3000 in the paper"
    )
    least_objects: int = Field(5, ge=1, description="boxes that a class needs to be learnt")
    least_height_px: float = Field(32, gt=0, description="lower boxes are not learnt from; 50 px in its evaluation")
    most_overlap: float = Field(
        0.1, ge=0, le=1, description="share of a box within another box, up to which it counts as unoccluded"
    )
    context_share: float = Field(0.2, ge=0, le=1, description="weight of the surroundings in the choice of a pose")
    hidden_prior: float = Field(
        0.5, gt=0, lt=1, description="chance that a cell is hidden; at 0.5 it drops out, as in the authors' code"
    )
    epochs: int = Field(
        0,
        ge=0,
        description="of the end-to-end stage; 10 in the paper; 0 leaves it out, since it changed scores by 0.1 points",
    )
    learning_rate: float = Field(0.01, gt=0, description="of the end-to-end stage; the paper's (their code: 0.005)")
    likelihood_weight: float = Field(2.0, ge=0, description="γ1, of the likelihood in it; the paper's")
    box_weight: float = Field(1.0, ge=0, description="γ2, of the boxes in it; the paper's")
    batch_size: int = Field(8, ge=1, description="crops at once")


class PipelineSettings(Settings):
    """All sections; every stage takes the whole and uses its own."""

    seed: int = Field(0, ge=0, lt=2**31, description="fixes every random choice")
    left_out_photos: float = Field(
        0.01,
        ge=0,
        le=1,
        description="most photos, as a share, that are left out because missing or damaged, each listed",
    )
    synthesis: SynthesisSettings = SynthesisSettings()
    completer: CompleterSettings = CompleterSettings()
    training: TrainingSettings = TrainingSettings()
    labels: LabelSettings = LabelSettings()
    detector: DetectorSettings = DetectorSettings()
    predict: PredictSettings = PredictSettings()
    refine: RefineSettings = RefineSettings()
    compositional: CompositionalSettings = CompositionalSettings()


class DataSettings(Settings):
    """What `amodalpl run` works on; paths are relative to where the command is started."""

    annotations: Path = Field(description="annotation file with modal masks, or a folder of COCOA records")
    images: Path = Field(description="folder of the photos")
    format: str = Field("auto", description="format of the annotations")
    truth: Path | None = Field(None, description="file with amodal masks under the same ids, to score the labels")
    detector: bool = Field(True, description="train and score the detector too")
    refine: bool = Field(False, description="refine the labels by what detectors find, in rounds")
    val: Path | None = Field(None, description="file with amodal masks to score the detector on")
    val_images: Path | None = Field(None, description="photos of `val`; `images` when not given")
    init: str | None = Field(None, description="start weights of the detector, or none")
    mmdet_config: str | None = Field(None, description="config of MMDetection whose model is trained")
    box_model: Literal["boxinst", "bbtp", "blade", "bayesian-amodal"] | None = Field(
        None,
        description="annotations have boxes, no masks: this model learns from them and makes the labels, in place of a "
        "completer; blade needs visible and whole boxes; other settings of it are those of detector or compositional",
    )
    box_init: str | None = Field(None, description="start weights of the box model; `init` when not given")
    known: Path | None = Field(
        None,
        description="file with masks, of photos that are in no other file: objects of theirs are hidden (`synth "
        "--recipe occluded-objects`) to calibrate the labels of a box model, and to score it",
    )
    known_images: Path | None = Field(None, description="photos of `known`; `images` when not given")

    @model_validator(mode="after")
    def _goes_together(self) -> DataSettings:
        if self.box_model and self.refine:
            raise ValueError("refine: expected it to be off with box_model, since its hold-out is made of masks")
        if not self.box_model and (self.known or self.box_init):
            what = "known" if self.known else "box_init"
            raise ValueError(
                f"{what}: expected box_model beside it; labels of a completer have a hold-out of their own"
            )
        return self

    @field_validator("*")
    @classmethod
    def _is_a_name(cls, value: Any) -> Any:
        if isinstance(value, (str, Path)) and "\0" in str(value):
            raise ValueError("expected a name without the character 0")
        return value


class RunSettings(PipelineSettings):
    """A settings file of `amodalpl run`: all sections, and the data."""

    data: DataSettings
