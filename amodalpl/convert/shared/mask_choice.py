"""Which mask is written where a format holds one per object: the visible or the whole one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from ...data.format_losses import UnsupportedFields
from ...data.label_file import DECISION
from ...data.records import AnnotationSet, Instance
from ...errors import DataError, SettingsError, nearest

MaskChoice = Literal["auto", "modal", "amodal", "both"]
Holds = Literal["one mask", "both masks", "whole masks"]
_NOTES = "amodalpl"
_OF_THE_VISIBLE_MASK = ("bbox", "area")


def known_choice(name: str) -> None:
    """Refuse a word that is no choice.

    Raises:
        SettingsError: that.
    """
    if name not in get_args(MaskChoice):
        raise SettingsError(
            f"--mask: expected {', '.join(get_args(MaskChoice))}, got {name!r}{nearest(name, get_args(MaskChoice))}"
        )


def with_chosen_masks(
    data: AnnotationSet, mask: str, holds: Holds, fmt: str, formats_of_both: list[str]
) -> tuple[AnnotationSet, MaskChoice, UnsupportedFields]:
    """Put the masks that are to be written where the format's writer looks for them.

    Args:
        data: as it was read.
        mask: of `MaskChoice`; "auto" is both where the format holds both, else the whole ones of a label file of ours,
            else the visible ones.
        holds: what the format has a place for.
        fmt: name of the format.
        formats_of_both: names of those that hold both, for messages.

    Returns:
        The data, the choice, and what it leaves out.

    Raises:
        SettingsError: the format has no place for what was chosen.
        DataError: whole masks were asked for, and there are none.
    """
    known_choice(mask)
    if holds != "one mask":
        choice: MaskChoice = "both" if holds == "both masks" else "amodal"
        if mask not in ("auto", choice):
            raise SettingsError(f"--mask {mask}: {fmt} holds {holds}; leave --mask out, or choose another --to")
        return data, choice, UnsupportedFields()
    if mask == "both":
        raise SettingsError(
            f"--mask both: {fmt} holds one mask per object; choose --mask amodal or --mask modal, "
            f"or --to {', '.join(formats_of_both)}"
        )
    whole = any(i.amodal_mask is not None and not i.is_crowd for i in data.instances)
    if mask == "modal" or (mask == "auto" and not (whole and is_label_file(data))):
        return data, "modal", UnsupportedFields()
    if not whole:
        raise DataError(
            f"{data.path}: --mask amodal: expected objects with whole masks, found none among {len(data.instances)}; "
            "label them with `amodalpl pseudolabel` first"
        )
    losses = UnsupportedFields()
    instances = [_whole(instance, losses) for instance in data.instances]
    return replace(data, instances=instances), "amodal", losses


def is_label_file(data: AnnotationSet) -> bool:
    """Tell whether `pseudolabel` or `apply-review` wrote the file: its labels have notes of ours."""
    return any(_NOTES in instance.extra for instance in data.instances)


def rejected(data: AnnotationSet) -> list[Instance]:
    """Return the labels that a review rejected: regions to ignore, since something is there."""
    return [i for i in data.instances if i.is_crowd and _decision(i) == "reject"]


def _decision(instance: Instance) -> object:
    notes = instance.extra.get(_NOTES)
    return notes.get(DECISION) if isinstance(notes, dict) else None


def _whole(instance: Instance, losses: UnsupportedFields) -> Instance:
    if instance.is_crowd:
        return replace(instance, amodal_mask=None)
    if instance.amodal_mask is None:
        losses["objects without a whole mask, written with the visible one"] += 1
        return instance
    losses["visible masks"] += instance.modal_mask is not None
    extra = {key: value for key, value in instance.extra.items() if key not in _OF_THE_VISIBLE_MASK}
    return replace(instance, modal_mask=instance.amodal_mask, amodal_mask=None, extra=extra)
