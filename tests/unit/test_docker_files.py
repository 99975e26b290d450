"""The container files: what can be known of them without a container engine."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture(scope="module")
def steps():
    spec = importlib.util.spec_from_file_location("docker_steps", DOCKER / "steps.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stages(steps):
    return steps.read_stages((DOCKER / "Dockerfile").read_text())


def test_a_dockerfile_is_cut_into_stages(steps):
    first, second = steps.read_stages("FROM a:1 AS b\n# no\nRUN x \\\n && y\n\nFROM b\nCOPY --from=b /p /q\n")
    assert (first.parent, first.name) == ("a:1", "b")
    [(instruction, command)] = first.steps
    assert (instruction, command.split()) == ("RUN", ["x", "&&", "y"])
    assert (second.parent, second.steps) == ("b", [("COPY", "--from=b /p /q")])


def test_a_target_needs_its_parents_and_what_it_copies_from(steps, stages):
    assert [s.name for s in steps.lineage(stages, "cpu")] == ["base", "packages-cpu", "runtime", "cpu"]
    assert [s.name for s in steps.lineage(stages, "cuda")] == ["base", "packages-cuda", "runtime", "cuda"]
    with pytest.raises(SystemExit, match="expected one of base, .*, got gpu"):
        steps.lineage(stages, "gpu")


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_last_stage_has_no_compiler_no_root_and_the_entry_point(steps, stages, target):
    chain, name = [], target
    by_name = {stage.name: stage for stage in stages}
    while name in by_name:
        chain.insert(0, by_name[name])
        name = by_name[name].parent
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", name)
    done = [step for stage in chain for step in stage.steps]
    installed = " ".join(argument for instruction, argument in done if instruction == "RUN")
    assert not re.search(r"gcc|g\+\+|build-essential|-dev\b|pip install", installed)
    last = dict(done)  # the last of each instruction
    assert last["USER"] == "amodalpl" and last["ENTRYPOINT"] == '["amodalpl"]' and last["WORKDIR"] == "/runs"


def test_every_installation_is_held_to_exact_versions(stages):
    for stage in stages:
        installs = [argument for instruction, argument in stage.steps if "pip install" in argument]
        pins = [a for i, a in stage.steps if i == "ENV" and "PIP_CONSTRAINT=/source/docker/constraints.txt" in a]
        assert bool(pins) == bool(installs)
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 40 and all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)


def test_every_dependency_of_ours_is_pinned():
    project = (DOCKER.parent / "pyproject.toml").read_text()
    wanted = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    wanted = wanted[: wanted.index("dev = [")]
    names = {name.lower() for name in re.findall(r'"([A-Za-z][\w.-]*)>=', wanted)}
    pinned = {line.split("==")[0] for line in (DOCKER / "constraints.txt").read_text().splitlines()}
    assert len(names) >= 12 and names <= pinned


def test_torchvision_is_the_one_of_torch(stages):
    pinned = dict(line.split("==") for line in (DOCKER / "constraints.txt").read_text().splitlines() if "==" in line)
    torch, torchvision = (int(pinned[name].split(".")[1]) for name in ("torch", "torchvision"))
    assert torchvision - torch == 15  # 0.26 beside 2.11, 0.28 beside 2.13
    [installed] = [
        argument for s in stages if s.name == "packages-cuda" for _, argument in s.steps if "torch" in argument
    ]
    assert installed.endswith("pip install torch torchvision")  # whose versions are those of the constraints


def test_an_index_of_torch_needs_torch_alone(stages):
    """Its dependencies, held to the versions of the constraints, come from where everything else comes from."""
    [installed] = [argument for s in stages for _, argument in s.steps if "TORCH_INDEX:+" in argument]
    assert "pip install --no-deps torch " in installed
    after = [argument for s in stages if s.name == "packages-cpu" for i, argument in s.steps if i == "RUN"]
    assert after[-1] == "pip install '/source[detector]' && pip check"


def test_compose_mounts_data_read_only_without_network_or_root():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "cuda"}
    for name, service in services.items():
        assert service["build"]["target"] == name and service["image"] == f"amodalpl:{name}"
        assert service["network_mode"] == "none" and service["read_only"] is True and service["shm_size"]
        assert service["volumes"][0].endswith(":/data:ro") and not service["user"].startswith("0")
    [device] = services["cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and "deploy" not in services["cpu"]


def test_the_pytorch_job_can_write_where_it_must_and_nowhere_else():
    job = yaml.safe_load((DOCKER / "kubernetes.yaml").read_text())
    assert job["kind"] == "PyTorchJob"
    for role, replicas in (("Master", 1), ("Worker", 1)):
        replica = job["spec"]["pytorchReplicaSpecs"][role]
        assert replica["replicas"] == replicas and replica["restartPolicy"] == "OnFailure"
        pod = replica["template"]["spec"]
        [container] = pod["containers"]
        assert container["name"] == "pytorch" and pod["securityContext"]["runAsNonRoot"] is True
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        assert mounts == {"/data": True, "/runs": False, "/dev/shm": False, "/tmp": False}
        assert {m["name"] for m in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_slurm_script_calls_each_stage_with_its_ranks(tmp_path):
    for name in ("amodalpl", "torchrun"):
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "32"}
    command = ["bash", str(DOCKER / "slurm.sbatch"), str(tmp_path / "out"), "ann.json", "photos", "none"]
    lines = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["amodalpl", "torchrun", "torchrun", "torchrun"]
    assert all("--nproc-per-node 4 --no-python amodalpl" in line for line in lines[1:])
    stages = [line.split("amodalpl ")[-1].split()[0] for line in lines]
    assert stages == ["synth", "complete", "pseudolabel", "train-detector"]
    assert lines[-1].endswith("--config cocoa_paper --init none")
