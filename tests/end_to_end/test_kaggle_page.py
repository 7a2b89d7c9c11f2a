"""docs/kaggle.md: its cells are run, section by section, in kernels of their own, on CPUs instead of GPUs."""

import csv
import os
import subprocess
import sys
import zipfile

import pytest
from support.cells import run_script, sections_of
from support.paths import ROOT

PAGE = ROOT / "docs/kaggle.md"
# Drive's module, of which a machine without Colab has none.
COLAB = """
from pathlib import Path

class drive:
    @staticmethod
    def mount(folder):
        assert Path(folder, "MyDrive").is_dir()
"""


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory, competition, tiny_bert):
    """A folder to work in, and where the page's paths are on this machine."""
    folder = tmp_path_factory.mktemp("kaggle")
    (folder / "working").mkdir()
    settings = f"model: {tiny_bert}\nmax_length: 32\nnum_train_epochs: 1\nbf16: false\n"
    (folder / "kaggle.yaml").write_text(f"recipe: custom\n{settings}pooling: cls\nfolds: 2\n")
    (folder / "quickstart.yaml").write_text(f"dataset: {competition}\n{settings}")
    return folder, {
        "/kaggle/input/nlp-getting-started": competition,
        "/kaggle/input/bert-base-uncased": tiny_bert,
        "/kaggle/input/my-run": folder / "working/runs/script",
        "/kaggle/working": folder / "working",
        "/content": folder / "content",
        "embedded:minilm": tiny_bert,
        "kaggle.yaml": folder / "kaggle.yaml",
        "disaster_tweets.yaml": folder / "quickstart.yaml",
        "quickstart.yaml": folder / "quickstart.yaml",
    }


@pytest.fixture(scope="module")
def stand_ins(kaggle):
    """A folder of programs: kaggle, which is not here, and a make that only tells what it would do."""
    folder = kaggle[0] / "bin"
    folder.mkdir()
    (folder / "kaggle").write_text(
        '#!/bin/sh\nwhile [ "$1" != -f ]; do shift; done\ntest -f "$2" && echo "submitted $2"\n'
    )
    (folder / "make").write_text(f'#!/bin/sh\nexec /usr/bin/make --dry-run -C {ROOT} "$@"\n')
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def run(kaggle, stand_ins):
    """A function that runs a section of the page and returns the finished process."""
    folder, replaced = kaggle

    def of(title, environment=None):
        environment = dict(environment or os.environ)
        environment["PATH"] = f"{stand_ins}:{os.path.dirname(sys.executable)}:{environment['PATH']}"
        section = sections_of(PAGE)[title]
        return run_script(section.script(), folder / "working", replaced, (sys.executable,), env=environment), section

    return of


@pytest.fixture(scope="module")
def trained(run):
    """What the cells of "Train" have printed."""
    done, _ = run("Train")
    assert done.returncode == 0, done.stderr
    return done.stdout


def submission(folder):
    with (folder / "working/submission.csv").open() as file:
        return [row["id"] for row in csv.DictReader(file)]


def test_both_languages_have_the_same_cells_in_the_same_order():
    english, korean = (list(sections_of(ROOT / "docs" / name).values()) for name in ("kaggle.md", "kaggle.ko.md"))
    assert [(one.cells, one.shown) for one in english] == [(one.cells, one.shown) for one in korean]
    assert sum(len(section.cells) for section in english) > 10


def test_the_bundle_is_what_make_bundle_writes(run):
    done, _ = run("Make the bundle")
    assert done.returncode == 0, done.stderr
    assert "recipes/bundle.py --python 3.11 3.12" in done.stdout


@pytest.mark.slow
def test_from_training_in_the_kernel_to_the_submission(trained, run, kaggle, competition):
    done, _ = run("Submit")
    assert done.returncode == 0, done.stderr
    assert "submitted submission.csv" in done.stdout
    with (competition / "sample_submission.csv").open() as file:
        assert submission(kaggle[0]) == [row["id"] for row in csv.DictReader(file)]
    assert len((kaggle[0] / "working/new.csv").read_text().splitlines()) == 31


@pytest.mark.slow
def test_models_of_the_hub_and_folders_that_were_attached(trained, run, kaggle, hub, tiny_bert, tmp_path):
    hub.model("google-bert/bert-base-uncased", tiny_bert)
    done, _ = run("Internet on or off", hub.environment(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    working = kaggle[0] / "working"
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (working / "bert-base-uncased" / name).is_file()
    assert (working / "runs/from-the-hub/submission.csv").read_text() == (
        working / "runs/bert/submission.csv"
    ).read_text()
    assert len((working / "predictions.csv").read_text().splitlines()) == 31


@pytest.mark.slow
def test_two_processes_launched_from_cells(run, kaggle):
    done, _ = run("Two GPUs")
    assert done.returncode == 0, done.stderr
    two, launched = (kaggle[0] / f"working/runs/{name}" for name in ("two", "launched"))
    for folder in (two, launched):
        assert '"processes": 2' in (folder / "metrics.json").read_text()
    assert (two / "submission.csv").read_text() == (launched / "submission.csv").read_text()


@pytest.mark.slow
def test_a_kernel_that_has_trained_cannot_launch(run, kaggle):
    done, section = run("When the launcher refuses")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == section.shown[0]
    assert (kaggle[0] / "working/runs/first/submission.csv").is_file()
    assert not (kaggle[0] / "working/runs/again").exists()


@pytest.mark.slow
def test_float16(run, kaggle):
    done, _ = run("float16 on a T4")
    assert done.returncode == 0, done.stderr
    assert "in float32" in done.stdout
    assert (kaggle[0] / "working/runs/float32/submission.csv").is_file()


@pytest.mark.slow
def test_colab_installs_from_the_drive_and_trains_into_it(run, kaggle):
    content = kaggle[0] / "content"
    drive = content / "drive/MyDrive"
    drive.mkdir(parents=True)
    with zipfile.ZipFile(drive / "bert-recipes-bundle.zip", "w") as archive:
        archive.writestr("install.py", "print('installed')")
    (content / "google").mkdir()
    (content / "google/colab.py").write_text(COLAB)
    environment = os.environ | {"PYTHONPATH": f"{content}:{os.environ.get('PYTHONPATH', '')}"}
    done, _ = run("Colab and Drive", environment)
    assert done.returncode == 0, done.stderr
    assert "installed" in done.stdout
    assert (drive / "runs/mine/submission.csv").is_file()


@pytest.mark.slow
def test_the_doctor_checks_what_is_installed(run):
    done, _ = run("`PartialState`", os.environ | {"HF_HUB_OFFLINE": "1"})
    assert "transformers' Trainer can be imported" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_clash_of_versions_is_named_with_its_cure(tmp_path):
    """As the page says: an accelerate that transformers is too new for."""
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate/__init__.py").write_text("__version__ = '1.15.0'\nclass Accelerator: pass\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "bert_recipes.cli.doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "accelerate is too old for it or missing: cannot import name" in " ".join(done.stdout.split())
