"""The bundle's own installer, run by a Python that has torch and numpy, or says it has, and no network."""

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.cells import sections_of
from support.paths import ROOT
from support.wheels import pretend_installed, write_wheel, write_wheel_of

from bert_recipes.cli import install_bundle

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TORCH = next(line for line in PROJECT["optional-dependencies"]["train"] if line.startswith("torch"))
FOR_TRAINING = f'{TORCH}; extra == "train"'


@pytest.fixture
def folder(tmp_path):
    """An unpacked bundle of a project that requires torch, and one package that requires numpy."""
    folder = tmp_path / "bundle"
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    shutil.copy(install_bundle.__file__, folder / "install.py")
    write_wheel_of(wheels, "packaging")
    write_wheel(wheels, "bert-recipes", [FOR_TRAINING, "helper>=2"], version=PROJECT["version"])
    write_wheel(wheels, "helper", ["numpy>=1.26.4"], version="2.5")
    wheel = write_wheel(wheels, "embedded-model", ["sentence-transformers"])
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "embedded.txt").write_text(f"embedded-model==1.0 --hash=sha256:{digest}\n")
    return folder


@pytest.fixture(scope="module")
def bare_machine(tmp_path_factory):
    """A virtual environment with nothing but pip in it."""
    folder = tmp_path_factory.mktemp("machine") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def machine(bare_machine, tmp_path):
    """A function that says that packages are installed on a machine, and returns its Python and what it has."""
    site = next(bare_machine.glob("lib/python*/site-packages"))
    before = set(site.iterdir())

    def make(**versions):
        for name, version in versions.items():
            pretend_installed(site, name, version)
        return bare_machine / "bin/python", site

    yield make
    for path in set(site.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def run(python, folder, *flags):
    # Without the settings of pip that this machine may have.
    environment = {"PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": "/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [python, "-B", folder / "install.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def installed(site):
    return {found.metadata["Name"]: found.version for found in importlib.metadata.distributions(path=[str(site)])}


def test_it_installs_beside_what_is_there_and_then_has_nothing_to_do(machine, folder):
    python, site = machine(torch="2.12.0+cu130", numpy="2.0.2")
    looked = run(python, folder, "--check")
    assert (looked.returncode, looked.stdout) == (0, "torch 2.12.0+cu130, numpy 2.0.2: they fit.\n")
    assert "bert-recipes" not in installed(site)
    done = run(python, folder)
    assert done.returncode == 0, done.stderr
    version = PROJECT["version"]
    assert f"Installed: bert-recipes {version}, embedded-model 1.0, helper 2.5.\n" in done.stdout
    assert "Kept: torch 2.12.0+cu130, numpy 2.0.2.\n" in done.stdout
    assert "Restart" not in done.stdout
    there = installed(site)
    assert (there["torch"], there["numpy"], "sentence-transformers" in there) == ("2.12.0+cu130", "2.0.2", False)
    assert "Installed: nothing, all was there.\n" in run(python, folder).stdout


def test_what_is_new_enough_stays_and_what_is_updated_asks_for_a_new_kernel(machine, folder):
    python, site = machine(torch="2.12.0", numpy="2.0.2", helper="2.1")
    done = run(python, folder)
    assert done.returncode == 0, done.stderr
    assert installed(site)["helper"] == "2.1"
    assert "Restart" not in done.stdout
    write_wheel(folder / "wheels", "bert-recipes", [FOR_TRAINING, "helper>=2.2"], version="9.0")
    (folder / f"wheels/bert_recipes-{PROJECT['version']}-py3-none-any.whl").unlink()
    done = run(python, folder)
    assert done.returncode == 0, done.stderr
    assert installed(site)["helper"] == "2.5"
    assert "Restart the kernel if" in done.stdout


@pytest.mark.parametrize("page", ["kaggle.md", "kaggle.ko.md"])
def test_a_torch_that_does_not_fit_is_said_as_the_page_shows_and_nothing_is_installed(page, machine, folder):
    python, site = machine(torch="2.6.0+cu124", numpy="2.0.2")
    done = run(python, folder)
    assert done.returncode == 2
    assert "bert-recipes" not in installed(site)
    (shown,) = (
        text
        for section in sections_of(ROOT / "docs" / page).values()
        for text in section.shown[:1]
        if "torch 2" in text
    )
    assert done.stderr.strip() == shown


def test_pip_alone_names_the_torch_that_is_needed(machine, folder):
    python, _ = machine(torch="2.6.0+cu124", numpy="2.0.2")
    command = [python, "-m", "pip", "install", "--no-index", "--find-links", folder / "wheels", "bert-recipes[train]"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PIP_CONFIG_FILE": "/dev/null"})
    assert done.returncode == 1
    assert f"No matching distribution found for {TORCH}" in done.stderr
    assert f"No matching distribution found for {TORCH}" in (ROOT / "docs/kaggle.md").read_text()


@pytest.mark.parametrize(
    ("versions", "sentences"),
    [
        ({"torch": "99.0", "numpy": "2.0.2"}, []),
        ({"torch": "99.0", "numpy": "1.24.0"}, ["numpy 1.24.0 is installed, and helper 2.5 needs numpy>=1.26.4: "]),
        # What is new enough is kept, and asks for nothing more.
        ({"torch": "99.0", "numpy": "1.24.0", "helper": "2.0"}, []),
        ({"torch": "99.0"}, ["numpy is not installed, and helper 2.5 needs numpy>=1.26.4: "]),
        (
            {"torch": "2.0", "numpy": "1.0"},
            [
                f"torch 2.0 is installed, and bert-recipes {PROJECT['version']} needs {TORCH}: ",
                "numpy 1.0 is installed, and helper 2.5 needs numpy>=1.26.4: ",
            ],
        ),
    ],
)
def test_every_version_that_does_not_fit_has_a_sentence(versions, sentences, folder, monkeypatch):
    monkeypatch.setattr(install_bundle, "_installed", versions.get)
    found = install_bundle.unfit(folder / "wheels")
    assert len(found) == len(sentences)
    assert all(text.startswith(sentence) for text, sentence in zip(found, sentences, strict=True))


@pytest.mark.parametrize(
    ("machine", "cure"),
    [("x86_64", r'make one with make bundle ARGS="--python 3\.\d+"'), ("arm64", "it works on Linux x86_64 only")],
)
def test_a_bundle_for_another_python_or_another_machine_is_said(machine, cure, folder, monkeypatch):
    (folder / "wheels/helper-2.5-py3-none-any.whl").unlink()
    write_wheel(folder / "wheels", "helper", version="2.5", tag="cp39-cp39-manylinux_2_28_x86_64")
    monkeypatch.setattr(install_bundle, "_installed", {"torch": "99.0"}.get)
    monkeypatch.setattr(install_bundle.platform, "machine", lambda: machine)
    (sentence,) = install_bundle.unfit(folder / "wheels")
    assert re.search(
        r"Python here is 3\.\d+ on Linux .*, and the bundle's wheels of helper are for cp39: " + cure, sentence
    )


def test_a_python_that_is_too_old_is_said(folder, monkeypatch):
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, install_bundle.OLDEST))
    monkeypatch.setattr(install_bundle, "OLDEST", (3, 99))
    assert [text.partition(",")[2] for text in install_bundle.unfit(folder / "wheels")] == [
        " and bert-recipes needs 3.99 or newer"
    ]


def test_it_needs_nothing_that_is_not_there_yet():
    """It runs where neither this project nor what it requires is installed."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='bundle')"
    path = Path(install_bundle.__file__)
    subprocess.run([sys.executable, "-I", "-S", "-c", code, path], check=True)
