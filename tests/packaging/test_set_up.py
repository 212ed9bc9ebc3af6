"""The set-up behind ``make``: what it says when it can't go on, and that it goes on afterwards.

A made-up project stands in for ours, with a made-up fairseq2 of a few bytes, so that no test needs
a network.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / ".ci"

# A build backend of a dozen lines: the made-up project must not need setuptools from an index.
BACKEND = """
import zipfile

METADATA = "Metadata-Version: 2.1\\nName: sekd-plugin\\nVersion: 0\\nProvides-Extra: fairseq2\\n"
METADATA += "Provides-Extra: report\\nProvides-Extra: test\\nRequires-Dist: fairseq2==0.8.1\\n"

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "sekd_plugin-0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("sekd_plugin.py", "")
        wheel.writestr("sekd_plugin-0.dist-info/METADATA", METADATA)
        wheel.writestr("sekd_plugin-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\n"
                       "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("sekd_plugin-0.dist-info/RECORD", "")
    return name

build_wheel = build_editable
"""


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")


@dataclass
class Project:
    """A made-up project and the only place it can get packages from."""

    root: Path
    packages: Path

    @property
    def site_packages(self) -> Path:
        return next(self.root.glob(".venv/lib/python*/site-packages"))

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
        clean |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.packages)}
        return subprocess.run(
            ["/bin/sh", str(self.root / ".ci/setup")],
            capture_output=True,
            text=True,
            env=clean | environment,
            timeout=120,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "a project"
    shutil.copytree(SCRIPTS, root / ".ci")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (root / "constraints.txt").write_text("fairseq2==0.8.1\nsoundfile==0.14.0\n")
    (root / "backend.py").write_text(BACKEND)
    packages = tmp_path / "packages"
    packages.mkdir()
    return Project(root, packages)


def put_fairseq2(project: Project) -> None:
    write_wheel(project.packages, "fairseq2", "0.8.1", {"fairseq2.py": b""})


def put_command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    command = folder / name
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


def only_line(text: str) -> str:
    assert "Traceback" not in text
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_no_python_at_all_is_one_line_that_names_the_versions_wanted(project, tmp_path):
    (tmp_path / "bin").mkdir()
    run = project.set_up(PATH=str(tmp_path / "bin"))
    assert run.returncode == 1
    assert "no Python 3.11 or 3.12 on PATH" in only_line(run.stderr)
    assert not (project.root / ".venv").exists()


def test_a_python_of_another_version_is_passed_over(project, tmp_path):
    put_command(tmp_path / "bin", "python3", "exit 1")
    run = project.set_up(PATH=str(tmp_path / "bin"))
    assert run.returncode == 1
    assert "no Python 3.11 or 3.12 on PATH" in only_line(run.stderr)


def test_a_python_without_venv_is_one_line_that_names_the_package_to_install(project, tmp_path):
    put_command(tmp_path / "bin", "python3", 'case "$2" in *venv*) exit 1;; esac')
    run = project.set_up(PATH=str(tmp_path / "bin"))
    assert run.returncode == 1
    line = only_line(run.stderr)
    assert "python3 has no 'venv' module" in line
    assert "python3-venv" in line


def test_a_failed_download_is_one_line_and_the_next_run_continues(project):
    failed = project.set_up()
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    lines = failed.stderr.splitlines()
    progress, last = lines[:-1], lines[-1]
    assert all("creating" in line or "installing" in line for line in progress)
    assert "pip could not install" in last
    assert "it found no fairseq2==0.8.1 that fits" in last
    assert "run the same command again" in last
    log = project.root / ".venv" / "setup.log"
    assert str(log) in last
    assert "ERROR:" in log.read_text()

    put_fairseq2(project)
    mended = project.set_up()
    assert mended.returncode == 0, mended.stderr
    assert "creating" not in mended.stderr
    assert (project.site_packages / "fairseq2.py").is_file()


def test_a_second_run_does_nothing_and_ends_at_once(project):
    put_fairseq2(project)
    assert project.set_up().returncode == 0
    started = time.monotonic()
    second = project.set_up()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert time.monotonic() - started < 5


def test_new_pins_are_installed_by_the_next_run(project):
    put_fairseq2(project)
    assert project.set_up().returncode == 0
    with (project.root / "constraints.txt").open("a") as file:
        file.write("torch==2.9.1\n")
    again = project.set_up()
    assert again.returncode == 0, again.stderr
    assert "installing pinned packages" in again.stderr


def test_an_installation_that_was_cut_off_is_completed(project):
    put_fairseq2(project)
    assert project.set_up().returncode == 0
    # As left by a kill in the middle: some files, metadata without a record, no stamp.
    (project.root / ".venv/setup.stamp").unlink()
    (project.site_packages / "fairseq2.py").unlink()
    (project.site_packages / "fairseq2-0.8.1.dist-info/RECORD").unlink()
    again = project.set_up()
    assert again.returncode == 0, again.stderr
    assert (project.site_packages / "fairseq2.py").is_file()


def test_a_moved_checkout_gets_an_environment_of_its_new_place(project, tmp_path):
    put_fairseq2(project)
    assert project.set_up().returncode == 0
    moved = Project(project.root.rename(tmp_path / "elsewhere"), project.packages)
    again = moved.set_up()
    assert again.returncode == 0, again.stderr
    assert str(moved.root) in (moved.root / ".venv/bin/pip").read_text()


def test_packages_that_do_not_import_are_one_line(project):
    write_wheel(project.packages, "fairseq2", "0.8.1", {"fairseq2.py": b"raise OSError('no tbb')"})
    run = project.set_up()
    assert run.returncode == 1
    assert "OSError: no tbb" in run.stderr.splitlines()[-1]
    assert not (project.root / ".venv/setup.stamp").exists()


# libsndfile: a library that no machine has stands in for one that this machine may have.


@pytest.fixture
def environment(project, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "environment", project.root / ".ci/environment.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (module.VENV / "lib").mkdir(parents=True)
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(module, "SNDFILE", "libsekd_stand_in.so.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(project.packages))
    return module


def a_shared_library() -> bytes:
    return Path(importlib.util.find_spec("_ctypes").origin).read_bytes()


def test_libsndfile_comes_out_of_the_wheel_for_those_who_are_not_root(
    environment, project, monkeypatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    library = a_shared_library()
    write_wheel(
        project.packages,
        "soundfile",
        "0.14.0",
        {"_soundfile_data/libsndfile_x86_64.so": library, "soundfile.py": b""},
    )
    environment.provide_sndfile()
    assert (environment.VENV / "lib/libsekd_stand_in.so.1").read_bytes() == library


def test_libsndfile_comes_from_the_package_manager_for_root(
    environment, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    library = tmp_path / "library"
    library.write_bytes(a_shared_library())
    target = environment.VENV / "lib/libsekd_stand_in.so.1"
    put_command(
        tmp_path / "bin",
        "apt-get",
        f'echo "asked: $*"; case "$1" in install) cp "{library}" "{target}";; esac',
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    environment.provide_sndfile()
    assert "asked: install -y libsndfile1" in environment.LOG.read_text()
    assert "wheel" not in capsys.readouterr().err


def test_the_wheel_is_the_way_out_when_the_package_manager_fails(
    environment, project, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    put_command(tmp_path / "bin", "apt-get", "exit 100")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    write_wheel(
        project.packages,
        "soundfile",
        "0.14.0",
        {"_soundfile_data/libsndfile_x86_64.so": a_shared_library()},
    )
    environment.provide_sndfile()
    assert environment.sndfile_loads()


def test_libsndfile_from_nowhere_is_one_line(environment, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(environment.SetupError) as caught:
        environment.provide_sndfile()
    message = str(caught.value)
    assert "libsndfile" in message
    assert "run the same command again" in message
    assert "\n" not in message
