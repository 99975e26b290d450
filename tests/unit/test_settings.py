"""Settings: declared once, checked once, with messages that name the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest

from amodalpl.errors import SettingsError
from amodalpl.settings import PipelineSettings
from amodalpl.settings_values import explicit_values, merge, parse_override, read_config, resolve

CONFIGS = Path(__file__).parents[2] / "configs"


def test_defaults_are_valid_and_survive_json():
    settings = PipelineSettings()
    assert resolve(settings.model_dump(mode="json")) == settings


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        PipelineSettings().seed = 1


def test_every_setting_is_described():
    sections = {name: section for name, section in PipelineSettings() if hasattr(section, "model_fields_set")}
    undescribed = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, field in type(section).model_fields.items()
        if not field.description
    ]
    alone = [n for n, f in PipelineSettings.model_fields.items() if n not in sections and not f.description]
    assert len(sections) == 8 and undescribed == [] and alone == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param("training.stpes=3", "unknown setting 'training.stpes'; did you mean 'steps'", id="misspelt key"),
        pytest.param("synthesis.ais.pastd=1", "did you mean 'pasted'", id="misspelt key of a section in a section"),
        pytest.param("trainning.steps=3", "did you mean 'training'", id="misspelt section"),
        pytest.param("gap_px=3", "did you mean 'labels.gap_px'", id="no section"),
        pytest.param("completer.method=asbo", "unknown method 'asbo'; did you mean 'asbu'", id="misspelt method"),
        pytest.param("detector.model=mask-rnn", "unknown model 'mask-rnn'; did you mean 'mask-rcnn'", id="model"),
        pytest.param("seed=-1", "seed: .* greater than or equal to 0, got -1", id="below the range"),
        pytest.param("seed=x", "seed: .* valid integer.*got 'x'", id="not a number"),
        pytest.param("training.steps=1.5", "training.steps: .* got 1.5", id="half a step"),
        pytest.param("training=3", "training: .* got 3", id="number for a section"),
        pytest.param("training.steps.more=3", "training.steps: .* valid integer", id="too deep"),
        pytest.param("synthesis.scale=[1.2, 0.8]", "scale: expected 0 <= least <= most, got 1.2, 0.8", id="swapped"),
        pytest.param("synthesis.boundary_px=4", "boundary_px: expected an odd number, got 4", id="even width"),
        pytest.param(
            "labels.per_class.a.treshold=1", "'labels.per_class.a.treshold'; did you mean 'threshold'", id="of a class"
        ),
        pytest.param("labels.per_class.a.threshold=1", "labels.per_class.a.threshold: .*got 1", id="value of a class"),
        pytest.param(
            "labels.per_class={a: {in_front_of: [b]}, b: {in_front_of: [c]}, c: {in_front_of: [a]}}",
            "an order of classes without a circle, got a in front of b in front of c in front of a",
            id="classes in a circle",
        ),
        pytest.param("labels.per_class.a.in_front_of=[a]", "got a in front of a", id="in front of itself"),
        pytest.param("training.steps", "--set training.steps: expected section.key=value", id="no value"),
        pytest.param("training.steps=[", "--set training.steps=", id="half a list"),
        pytest.param("training.steps=!!python/object:os.system x", "expected a plain value", id="object"),
    ],
)
def test_bad_override_is_one_clear_line(override, message):
    with pytest.raises(SettingsError, match=message) as error:
        resolve(explicit_values(None, [override]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"[1, 2]", "expected `section: values` entries, got list", id="list"),
        pytest.param(b"a: [", "expected YAML", id="half a list"),
        pytest.param(b"\xff\xfe\x00", "expected YAML", id="binary"),
    ],
)
def test_bad_file_is_named(tmp_path, content, message):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"mine.yaml: {message}"):
        read_config(file)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(SettingsError, match="none.yaml: expected a settings file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match=tmp_path.name):
        read_config(tmp_path)


def test_empty_file_sets_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_config(tmp_path / "empty.yaml") == {}


def test_file_then_overrides_then_options(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\ntraining: {steps: 10, batch_size: 4}\n")
    values = explicit_values(file, ["training.steps=20", "seed=2"], seed=3)
    assert values == {"seed": 3, "training": {"steps": 20, "batch_size": 4}}


def test_option_that_was_not_given_changes_nothing():
    assert explicit_values(None, ["seed=2"], seed=None) == {"seed": 2}


def test_numbers_as_people_write_them(tmp_path):
    assert parse_override("training.learning_rate=1e-3") == (["training", "learning_rate"], 0.001)
    (tmp_path / "mine.yaml").write_text("training: {learning_rate: 1e-3, milestones: [1e3, 2e3]}\n")
    training = resolve(read_config(tmp_path / "mine.yaml")).training
    assert (training.learning_rate, training.milestones) == (0.001, (1000, 2000))


def test_settings_of_classes():
    given = explicit_values(
        None, ["labels.per_class.dining table.keep_modal=true", "labels.per_class.7.in_front_of=[8]"]
    )
    found = resolve(given).labels.per_class
    assert found["dining table"].keep_modal and found["7"].in_front_of == ("8",)


def test_merge_leaves_its_layers_alone():
    below, above = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merge(below, above) == {"a": {"x": 1, "y": 2}}
    assert (below, above) == ({"a": {"x": 1}}, {"a": {"y": 2}})


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_configs_are_valid(file):
    values = {name: section for name, section in read_config(file).items() if name != "data"}
    resolve(values, source=str(file))


def test_names_of_earlier_versions_are_taken_for_todays():
    old = resolve({"labels": {"tight_px": 3, "close_looks": [2.0]}, "synthesis": {"layers": {"told": 0.1}}})
    assert (old.labels.contour_inset_px, old.labels.contact_crops) == (3, (2.0,))
    assert old.synthesis.layers.front_only_probability == 0.1
    with pytest.raises(SettingsError, match="tight_px is now called contour_inset_px: give one of them"):
        resolve({"labels": {"tight_px": 3, "contour_inset_px": 3}})


def test_a_retired_setting_is_passed_over():
    given = resolve({"training": {"synthesis_device": "device", "steps": 7}}).training
    assert given == resolve({"training": {"steps": 7}}).training
