"""What the pages say is so: commands run, quoted messages are the code's, names of settings, files and functions exist.

The README and each page of docs/ are read from top to bottom in a folder of their own that holds what they take for
granted (photos, annotations, a trained completer). Trainings get the settings of `tiny`; else commands are run as
printed.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
import typer
from typer.testing import CliRunner

import amodalpl
from amodalpl.data.review_file import Decision, Review, fingerprint, write_review
from amodalpl.detector.model_table import MODELS
from amodalpl.drawn_scenes import write_scenes
from amodalpl.masks import rle
from amodalpl.models.completer_table import METHODS
from amodalpl.pipeline import demo as demo_stage
from amodalpl.settings import DetectorSettings, RunSettings
from amodalpl_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
DOCKER = (ROOT / "docker/README.md").read_text(encoding="utf-8")
OTHERS = {
    n: (ROOT / n).read_text(encoding="utf-8") for n in ("docker/README.md", "examples/README.md", "CONTRIBUTING.md")
}
RUN_ELSEWHERE = {"docs/converting.md": "tests/unit/test_convert.py"}
PYTHON_ELSEWHERE = {"docs/api.md": "tests/unit/test_api_page.py"}
NOT_RUN = {
    "python3": "makes a virtual environment and downloads packages",
    "xdg-open": "opens a browser; tests/browser opens reports",
    "torchrun": "starts processes of its own; tests/distributed does the same without it",
    "docker": "needs an engine, and images that take minutes to build",
    "sbatch": "needs Slurm; tests/unit/test_docker_files.py runs the script with stages that only print",
    "kubectl": "needs a cluster; tests/unit/test_docker_files.py reads the file",
}
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
QUICK = ["training.steps=2", "training.batch_size=4", "training.workers=0", "detector.steps=2", "detector.workers=0"]
TRAINED = {"advise", "synth", "complete", "train-compositional", "train-detector", "refine", "run", "demo"}


class Line(NamedTuple):
    """A command as printed: its first word, and the part that is for amodalpl."""

    text: str
    first: str
    ours: list[str]


def commands(page: str) -> list[Line]:
    """Return the commands in fences, and in cells of tables that hold nothing else, from top to bottom."""
    found = []
    for match in re.finditer(
        r"^ *```(\w*)\n(.*?)^ *```|\|\s*`(amodalpl [^`]+)`\s*(?=\|)", page, re.DOTALL | re.MULTILINE
    ):
        if match[1]:
            continue
        block = match[3] or match[2].replace("\\\n", " ")
        for text in block.splitlines():
            text = text.strip().split("  #")[0]
            first = text.split(" ")[0]
            if first == "amodalpl" or first in NOT_RUN:
                called = re.search(r"(?:^|\s)amodalpl(?::\w+)? +(-*[a-z].*)", text)
                found.append(Line(text, first, shlex.split(called[1]) if called else []))
    return found


def to_run(page: str) -> list[Line]:
    return [line for line in commands(page) if line.first == "amodalpl"]


def needs_detector(line: Line) -> bool:
    whole_chain = line.ours[0] == "demo" or (line.ours[0] == "run" and "--until" not in line.ours)
    return whole_chain or "detector" in line.text or line.ours[0] in ("train-compositional", "refine")


def quickly(args: list[str]) -> list[str]:
    """Put `tiny` in the place of a training's settings."""
    if args[0] not in TRAINED:
        return args
    if args[0] == "train-detector" and "--init" not in args:
        args = [*args, "--init", "none"]  # what is downloaded otherwise is for a larger backbone
    if args[0] == "train-compositional":
        args = ["none" if arg.endswith(".pth") else arg for arg in args]
    if args[0] == "run":
        args = ["run", "tiny", *args[2:]]
    elif "--config" in args:
        at = args.index("--config") + 1
        args = [*args[:at], "tiny", *args[at + 1 :]]
    else:
        args = [*args, "--config", "tiny"]
    return [*args, *(word for setting in QUICK for word in ("--set", setting))]


def invoke(args: list[str]) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, f"amodalpl {shlex.join(args)}: {result.output} {result.exception!r}"


def decide(labels: Path) -> None:
    """Do what a person does in report.html: decide on three labels, and save review.json."""
    annotations = json.loads((labels / "pseudo_amodal.json").read_text(encoding="utf-8"))["annotations"]
    verdicts = zip(annotations, ("reject", "keep-modal", "accept"), strict=False)
    decisions = tuple(Decision(a["id"], verdict, fingerprint(a)) for a, verdict in verdicts)
    write_review(Path("review.json"), Review("0" * 64, decisions))


def judge(page: Path) -> None:
    """Do what a person does in audit.html: find every label right, and save audit.json."""
    text = page.read_text(encoding="utf-8")
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    judgements = [{"id": label["id"], "verdict": "right"} for label in data["labels"]]
    kept = {key: data[key] for key in ("format", "version", "labels_sha256", "seed", "sample")}
    Path("audit.json").write_text(json.dumps({**kept, "judgements": judgements}), encoding="utf-8")


def read_through(page: str, folder: Path, with_detector: bool) -> int:
    """Run the commands of a page in a folder, and return how many they were."""
    made: set[str] = set()
    run = 0
    for line in to_run(page):
        if (needs_detector(line) and not with_detector) or ("onnx" in line.text and not HAS_ONNX):
            continue
        args = quickly(line.ours)
        if "--out" in args:
            out = args[args.index("--out") + 1]
            if out not in made and (folder / out).exists():  # was put there for pages that begin in the middle
                (shutil.rmtree if (folder / out).is_dir() else Path.unlink)(folder / out)
            made.add(out)
        if args[0] == "apply-review" and args[3] == "review.json":
            decide(folder / args[1])
        if args[0] == "audit" and "--judgements" in args:
            judge(folder / "runs/audit/audit.html")
        invoke(args)
        run += 1
    return run


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with all that pages take for granted, but for a detector."""
    folder = tmp_path_factory.mktemp("site")
    files = write_scenes(folder, 6, seed=0, size_hw=(64, 80))
    files.annotations.rename(folder / "instances.json")
    shutil.copytree(folder / "images", folder / "photos")
    shutil.copy(folder / "instances.json", folder / "boxes.json")
    truth = json.loads(files.truth.read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    found = [
        {key: entry[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.9}
        for entry in json.loads((folder / "instances.json").read_text(encoding="utf-8"))["annotations"]
    ]
    (folder / "detections.json").write_text(json.dumps(found), encoding="utf-8")
    (folder / "sam").mkdir()
    for image_id, name in names.items():
        masks = [
            {"segmentation": a["segmentation"], "predicted_iou": 0.95, "bbox": list(rle.box_xywh(a["segmentation"]))}
            for a in found
            if a["image_id"] == image_id
        ]
        (folder / "sam" / f"{Path(name).stem}.json").write_text(json.dumps(masks), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            "convert instances.json --images images --to labelme --out labelme",
            "synth instances.json images --out runs/synth",
            "complete runs/synth --out runs/completer --method layered",
            "pseudolabel instances.json images --completer runs/completer --out runs/labels",
        ):
            invoke(quickly(command.split()))
    shutil.copytree(folder / "runs/completer", folder / "runs/better")
    return folder


@pytest.fixture(scope="module")
def site_with_detector(site):
    pytest.importorskip("mmdet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(site)
        command = "train-detector runs/labels/pseudo_amodal.json images --out runs/detector --init none"
        invoke(quickly(command.split()))
        shutil.copy("runs/detector/weights.pth", "resnet50.pth")  # a file for --init; tiny's backbone is smaller
    return site


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Copy a site for one page, and go there."""

    def enter(site: Path) -> Path:
        folder = tmp_path / "page"
        shutil.copytree(site, folder)
        monkeypatch.chdir(folder)
        return folder

    return enter


def pages_with(wanted) -> list[str]:
    return sorted(n for n, page in PAGES.items() if n not in RUN_ELSEWHERE and any(map(wanted, to_run(page))))


@pytest.mark.parametrize("name", pages_with(lambda line: not needs_detector(line)))
def test_commands_run(name, site, workplace):
    assert read_through(PAGES[name], workplace(site), with_detector=False) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", pages_with(needs_detector))
def test_commands_run_with_a_detector(name, site_with_detector, workplace, monkeypatch):
    monkeypatch.setattr(demo_stage, "TRAINING_SCENES", 6)
    monkeypatch.setattr(demo_stage, "VALIDATION_SCENES", 2)
    assert read_through(PAGES[name], workplace(site_with_detector), with_detector=True) > 0


def test_every_command_is_on_a_page():
    root = typer.main.get_command(app)
    groups = {name: getattr(command, "commands", {"": None}) for name, command in root.commands.items()}
    run = {" ".join(line.ours) + " " for page in PAGES.values() for line in to_run(page)}
    missing = [
        f"{name} {inner}"
        for name, inners in groups.items()
        for inner in inners
        if not any(text.startswith(f"{name} {inner}".strip() + " ") for text in run)
    ]
    assert missing == []


def test_what_is_run_elsewhere_is_run_there():
    for page, test in {**RUN_ELSEWHERE, **PYTHON_ELSEWHERE}.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
    with_python = {name for name, page in PAGES.items() if "```python" in page}
    assert with_python == set(PYTHON_ELSEWHERE)


@pytest.mark.parametrize("name", [*sorted(PAGES), "docker/README.md"])
def test_commands_that_are_not_run_parse(name):
    for line in commands(PAGES.get(name, DOCKER)):
        if line.first == "amodalpl":
            continue
        for file in re.findall(r"docker/[\w.]+", line.text):
            assert (ROOT / file).is_file(), line.text
        if line.ours:
            parse(line.ours)


def parse(args: list[str]) -> None:
    """Parse a command line without running it; unknown commands and options raise."""
    root = typer.main.get_command(app)
    with root.make_context("amodalpl", list(args)) as context:
        name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(name, rest, parent=context)


def test_a_wrong_option_would_be_seen():
    with pytest.raises(Exception, match="No such option: --oout"):
        parse(["demo", "--oout", "runs/demo"])


def test_commands_are_found():
    page = (
        "```\namodalpl check a b  # text\ndocker run x \\\n  amodalpl:cuda run tiny --out x\n"
        "docker build -t amodalpl:c .\n```\n| a | `amodalpl doctor` |\n\n`amodalpl no` ```python\namodalpl no\n```\n"
    )
    assert [line.ours for line in commands(page)] == [
        ["check", "a", "b"], ["run", "tiny", "--out", "x"], [], ["doctor"],
    ]  # fmt: skip


def templates() -> list[re.Pattern[str]]:
    """Return a pattern for each text in the code that says something: fixed words, and anything in place of values."""
    patterns = set()
    for file in [*(ROOT / "amodalpl").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            fixed = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else None for p in parts]
            if sum(len(text or "") for text in fixed) >= 16:
                patterns.add("".join(".*" if text is None else re.escape(text) for text in fixed))
    return [re.compile(pattern, re.DOTALL) for pattern in patterns]


def quoted(page: str) -> list[str]:
    return [match[1].strip() for match in re.finditer(r"^\*\*``(.+)``\*\*$", page, re.MULTILINE)]


def test_quoted_messages_are_of_the_code():
    known, lines = templates(), quoted(PAGES["docs/troubleshooting.md"])
    assert len(lines) > 40
    assert [line for line in lines if not any(pattern.fullmatch(line) for pattern in known)] == []
    assert not any(pattern.fullmatch("a.json: expected a banana, got none; buy one") for pattern in known)


def test_settings_named_are_settings():
    sections = {name: field.annotation for name, field in RunSettings.model_fields.items()}
    known = {f"{name}.{key}" for name, section in sections.items() for key in getattr(section, "model_fields", {})}
    for name, page in PAGES.items():
        named = re.findall(
            r"(?:`|--set )((?:synthesis|completer|training|labels|detector|compositional|data)\.\w+)(?=[`= ])", page
        )
        files = {file for file in named if file.endswith((".json", ".yaml", ".onnx"))}
        assert {*named} - files <= known, name


def test_links_lead_somewhere():
    for name, page in {**PAGES, **OTHERS}.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_files_named_are_there():
    for name, page in {**PAGES, **OTHERS}.items():
        for file in re.findall(
            r"\b(?:amodalpl|cli|configs|tests|docker|examples)/[\w/]+\.(?:py|yaml|md|sh|ipynb)\b", page
        ):
            assert (ROOT / file).is_file(), f"{name}: {file}"


def test_one_word_for_uncertainty():
    """`docs/glossary.md` fixes it; files and the setting `detector.trust.doubt` keep their names."""
    shown = [
        *ROOT.glob("amodalpl/report/*.html"),
        *ROOT.glob("amodalpl/report/*.js"),
        *ROOT.glob("amodalpl/report/*.css"),
    ]
    texts = {**PAGES, **{str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in shown}}
    del texts["docs/design.md"]
    assert [name for name, text in texts.items() if re.search(r"doubt(?!\.jsonl| ·)", text, re.I)] == []


def test_tree_names_every_folder_and_no_other():
    tree = re.search(r"^amodalpl/ .*?(?=\n```)", OTHERS["CONTRIBUTING.md"], re.DOTALL | re.M)[0]
    packages = {path.parent.name for path in ROOT.glob("amodalpl/*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/", tree, re.M)) == packages
    top = set(re.findall(r"^(\w+)/", tree, re.M))
    assert all((ROOT / name).is_dir() for name in top)


def test_models_page_has_every_method_backbone_and_settings_file():
    page = PAGES["docs/models.md"]
    backbones = get_args(DetectorSettings.model_fields["backbone"].annotation)
    names = [*METHODS, *MODELS, *backbones, *(path.stem for path in (ROOT / "configs").glob("*.yaml"))]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_reference_page_has_all_that_import_offers():
    """What it names and is not there, mkdocstrings refuses."""
    listed = re.findall(r"^::: amodalpl\..*?(\w+)$", PAGES["docs/reference.md"], re.MULTILINE)
    assert [name for name in amodalpl.__all__ if name not in listed] == []


def test_methods_page_names_what_is_there():
    page = PAGES["docs/methods.md"]
    for file in re.findall(r"`([\w/]+\.py)`", page):
        assert (ROOT / file).is_file() or (ROOT / "amodalpl" / file).is_file(), file
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "amodalpl").rglob("*.py"))
    named = [
        n for p in re.findall(r"^In the code:.*?(?=\n\n)", page, re.DOTALL | re.M) for n in re.findall(r"`(\w+)`", p)
    ]
    assert len(named) > 10
    assert [n for n in named if not re.search(rf"^(def|class) {n}\b", code, re.M)] == []
