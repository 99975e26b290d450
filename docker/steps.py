"""Runs the steps of the Dockerfile in a clean root, where no Docker engine is to be had: so it is known to build.

    sudo python3 docker/steps.py --target cpu --folder /var/tmp/amodalpl-image -- demo --out /runs/demo

makes a Debian with `debootstrap`, runs each instruction of the target and of the stages before it by `chroot`, and then
the image's entry point, as its user and without network, with what follows `--`. It needs Linux, root, and debootstrap.
What it cannot show: that the official Python image behaves as Debian's Python does, and anything about a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """One `FROM ... AS ...` of a Dockerfile.

    Attributes:
        parent: the stage or image it starts from.
        name: its own.
        steps: instruction and argument, in order.
    """

    parent: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read_stages(text: str) -> list[Stage]:
    """Cut a Dockerfile into its stages; comments are left out, continued lines joined."""
    stages: list[Stage] = []
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    for line in joined.splitlines():
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            parent, _, name = argument.partition(" AS ")
            stages.append(Stage(parent, name or parent))
        else:
            stages[-1].steps.append((instruction, argument.strip()))
    return stages


def lineage(stages: Sequence[Stage], target: str) -> list[Stage]:
    """Return what has to be run for a target, in the order of the file."""
    by_name = {stage.name: stage for stage in stages}
    if target not in by_name:
        raise SystemExit(f"expected one of {', '.join(by_name)} as target, got {target}")
    needed: set[str] = set()
    open_ = [target]
    while open_:
        name = open_.pop()
        if name in by_name and name not in needed:
            needed.add(name)
            stage = by_name[name]
            open_ += [
                stage.parent,
                *(a.split()[0][7:] for i, a in stage.steps if i == "COPY" and a.startswith("--from=")),
            ]
    return [stage for stage in stages if stage.name in needed]


@dataclass
class Image:
    """A root folder and what instructions have set for it."""

    root: Path
    env: dict[str, str]
    user: str = "root"
    workdir: str = "/"
    entry: list[str] = field(default_factory=list)


def build(stages: Sequence[Stage], folder: Path, source: Path, binds: Sequence[str], env: dict[str, str]) -> Image:
    """Run the steps of each stage; return the last one's image."""
    images: dict[str, Image] = {}
    for stage in stages:
        print(f"== {stage.name}, from {stage.parent}", flush=True)
        parent = images.get(stage.parent) or Image(_debian(folder / "debian"), {"PATH": PATH})
        root = folder / stage.name
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "--archive", "--reflink=auto", str(parent.root), str(root)], check=True)
        image = images[stage.name] = Image(root, dict(parent.env), parent.user, parent.workdir, list(parent.entry))
        arguments: dict[str, str] = {}
        for instruction, argument in stage.steps:
            print(f"-- {instruction} {argument}", flush=True)
            if instruction == "RUN":
                with mounted(root, binds):
                    _run(image, ["/bin/sh", "-c", argument], {**arguments, **env})
            elif instruction == "ENV":
                for pair in shlex.split(argument):
                    key, _, value = pair.partition("=")
                    image.env[key] = value.replace(f"${key}", image.env.get(key, ""))
            elif instruction == "ARG":
                key, _, value = argument.partition("=")
                arguments[key] = env.get(key, value.strip('"'))
            elif instruction == "COPY":
                _copy(argument, image, images, source)
            elif instruction == "USER":
                image.user = argument
            elif instruction == "WORKDIR":
                image.workdir = argument
                (root / argument.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif instruction == "ENTRYPOINT":
                image.entry = json.loads(argument)
            elif instruction != "CMD":
                raise SystemExit(f"{stage.name}: this script does not know the instruction {instruction}")
    return images[stages[-1].name]


def _debian(root: Path) -> Path:
    if not (root / "usr/local/bin/python").exists():
        packages = "python3,python3-venv,ca-certificates"
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root)], check=True)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    return root


def _copy(argument: str, image: Image, images: dict[str, Image], source: Path) -> None:
    words = argument.split()
    origin = images[words.pop(0)[7:]].root if words[0].startswith("--from=") else source
    what, where = words
    target = image.root / where.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if origin is source:
        listed = subprocess.run(
            ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard", what],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (source / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target / name)
    else:
        subprocess.run(["cp", "--archive", "--reflink=auto", str(origin / what.lstrip("/")), str(target)], check=True)


def _run(image: Image, command: Sequence[str], more: dict[str, str], network: bool = True) -> None:
    env = {"HOME": "/root", **image.env, **more}
    chroot, unshare = (shutil.which(name, path=PATH) or name for name in ("chroot", "unshare"))
    around = [] if network else [unshare, "--net"]
    before = [chroot, *([] if image.user == "root" else [f"--userspec={image.user}"]), str(image.root)]
    inside = ["/bin/sh", "-c", f'cd {shlex.quote(image.workdir)} && exec "$@"', "sh", *command]
    subprocess.run([*around, *before, *inside], check=True, env=env)


@contextmanager
def mounted(root: Path, binds: Sequence[str]) -> Iterator[None]:
    """Mount /proc, /dev and `SOURCE:TARGET[:ro]` below a root for the time of a step."""
    with ExitStack() as stack:
        for bind in ["/proc:/proc", "/dev:/dev", "/etc/resolv.conf:/etc/resolv.conf:ro", *binds]:
            source, target, *options = bind.split(":")
            place = root / target.lstrip("/")
            if Path(source).is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            subprocess.run(["mount", "--bind", source, str(place)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
            if "ro" in options:
                subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield


def main(argv: Sequence[str]) -> None:
    """Build the target, then run its entry point."""
    own, _, command = (list(part) for part in _split(argv))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="cpu", help="stage of the Dockerfile")
    parser.add_argument("--folder", type=Path, required=True, help="where roots are made; a few GB")
    parser.add_argument(
        "--bind", action="append", default=[], metavar="SOURCE:TARGET[:ro]", help="mounted in every step"
    )
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="set while building")
    options = parser.parse_args(own)
    if os.geteuid() != 0 or sys.platform != "linux":
        raise SystemExit("expected root on Linux: chroot and mount need it")
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stages = lineage(read_stages((HERE / "Dockerfile").read_text()), options.target)
    env = dict(pair.split("=", 1) for pair in options.env)
    image = build(stages, folder, HERE.parent, options.bind, env)
    print(f"== {shlex.join([*image.entry, *command])}, as {image.user}, without network", flush=True)
    with mounted(image.root, options.bind):
        _run(image, [*image.entry, *command], {}, network=False)


def _split(argv: Sequence[str]) -> tuple[Sequence[str], str, Sequence[str]]:
    at = list(argv).index("--") if "--" in argv else len(argv)
    return argv[:at], "--", argv[at + 1 :]


if __name__ == "__main__":
    main(sys.argv[1:])
