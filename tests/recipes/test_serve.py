"""`recipes/serve.py`, from its flags to its end."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
from support.paths import RECIPES, ROOT
from support.scripts import run_script
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_recipes.errors import UserError

SERVE = RECIPES / "serve.py"


@pytest.fixture
def run(tiny_bert, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(tiny_bert).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "model")
    (tmp_path / "run.yaml").write_text("text_column: text\nmax_length: 32\n")
    return tmp_path


@pytest.mark.slow
def test_under_load_sigterm_loses_no_request_that_was_taken(run):
    command = [sys.executable, str(SERVE), "--model", str(run), "--port", "0", "--bf16", "false"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    port = int(re.search(r"http://127\.0\.0\.1:(\d+) ", line)[1])
    counts, lost = [], []

    def ask():
        connection, count = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
        while True:
            try:
                connection.connect() if connection.sock is None else None
            except ConnectionRefusedError:
                counts.append(count)
                return
            try:
                connection.request(
                    "POST", "/predict", json.dumps({"text": "fire"}), {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                assert len(json.loads(answer.read())["predictions"]) == 1
                count += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                lost.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    threading.Event().wait(3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    for thread in threads:
        thread.join(30)
    assert (process.returncode, err, lost) == (0, "", [])
    assert out.splitlines()[-1] == "All requests that were taken are answered."
    assert len(counts) == 16
    assert min(counts) > 0


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} is taken"):
            run_script(SERVE, "--model", "no/such/model", "--port", port, "--debug")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--port", "70000"), "--port must be between 0 and 65,535, got 70000"),
        (("--max_batch", "0"), "--max_batch must be between 1 and"),
        (("--max_texts", "3000"), "--max_texts 3000 has no room in --max_queue 4096"),
        (("--drain_seconds", "nan"), "--drain_seconds must be between"),
        (("--max_text", "3"), "did you mean --max_texts"),
    ],
)
def test_a_wrong_flag_is_a_sentence(flags, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        run_script(SERVE, "--model", "runs/x", *flags, "--debug")


def test_without_its_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("bert_recipes.inference.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        UserError, match=r"serving needs fastapi, which is not installed: pip install .bert-recipes\[serve\]"
    ):
        run_script(SERVE, "--model", "runs/x", "--debug")


@pytest.mark.parametrize("name", ["serve.Dockerfile", "serve-export.Dockerfile"])
def test_an_image_copies_and_installs_what_there_is(name):
    text = (RECIPES / "launch" / name).read_text()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert {"src", "recipes", "pyproject.toml", "constraints.txt"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert all(f"!{path}" in ignored for path in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"\*extras\['(.*?)'\]", text)
    assert "serve" in asked
    assert set(asked) <= set(extras)
    assert "train" in asked or "torch" not in " ".join(line for extra in asked for line in extras[extra])
    assert re.search(r"^USER \d+", text, re.M)  # a name cannot be checked by Kubernetes' runAsNonRoot
    assert 'ENTRYPOINT ["python", "-m", "bert_recipes.recipes.serve"' in text  # a list: SIGTERM reaches it


FIRST_PROCESS = """
import ctypes, os, runpy, sys
if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID: the next child is the first process of a namespace
    sys.exit()
pid = os.fork()
if pid == 0:
    sys.argv = {argv}
    runpy.run_path(sys.argv[0], run_name="__main__")
    os._exit(0)
print(pid, flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_sigterm_ends_the_first_process_of_a_container_while_it_loads(run):
    code = FIRST_PROCESS.format(argv=[str(SERVE), "--model", str(run), "--port", "0"])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline().strip()
    if not first:
        pytest.skip("no process namespace can be made here")
    try:
        status = Path(f"/proc/{first}/status")
        while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1:
            time.sleep(0.01)
        os.kill(int(first), signal.SIGTERM)
        assert (*process.communicate(timeout=20), process.returncode) == ("", "", 128 + signal.SIGTERM)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(first), signal.SIGKILL)
