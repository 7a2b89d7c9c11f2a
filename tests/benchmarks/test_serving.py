"""The load on the service: what is measured, and what is counted as an error."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks.serving import WRK, free_port, load, running, summary
from bert_recipes.errors import UserError

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk: apt install wrk")
# It starts a process, as LitServe does, and answers every other request with 500.
SERVICE = """
import http.server, itertools, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "w").write(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, numbers = "HTTP/1.1", itertools.count()
    def answer(self, status):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_GET(self):
        self.answer(200)
    def do_POST(self):
        self.answer((200, 500)[next(self.numbers) % 2])
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def state(pid):
    """Return what Linux calls the state of a process: T is one that stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stands_still(pid):
    """Whether a process stands still, or does so soon."""
    until = time.monotonic() + 10
    while state(pid) != "T" and time.monotonic() < until:
        time.sleep(0.01)
    return state(pid) == "T"


def ends(pid):
    """Whether a process has ended, or does so soon: what is killed ends a moment later."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if state(pid) == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@needs_wrk
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_errors_are_counted_and_a_service_stands_still_until_it_is_loaded_and_ends_with_its_processes(tmp_path):
    port, child = free_port(), tmp_path / "child"
    script, bodies = tmp_path / "predict.lua", tmp_path / "bodies.jsonl"
    bodies.write_text('{"text": "fire"}\n')
    script.write_text(WRK % {"bodies": bodies})
    with running([sys.executable, "-c", SERVICE, str(port), str(child)], port) as service:
        pid = int(child.read_text())
        assert stands_still(service.group)
        assert stands_still(pid)
        measured = load(service, 2, 1, script)
        assert measured["requests"] > 1
        assert abs(measured["errors"] - measured["requests"] / 2) <= 2
        assert stands_still(service.group)
    assert not Path(f"/proc/{service.group}").exists()
    assert ends(pid)


def test_a_service_that_does_not_start_is_a_sentence():
    with (
        pytest.raises(UserError, match="did not start a service"),
        running([sys.executable, "-c", "raise SystemExit(3)"], free_port()),
    ):
        pass


def test_rates_are_medians_and_errors_are_sums():
    rounds = [{"requests_per_second": n, "p50_ms": n, "p99_ms": n, "requests": n, "errors": n} for n in (1, 2, 9)]
    assert summary(rounds) == {"requests_per_second": 2, "p50_ms": 2, "p99_ms": 2, "requests": 12, "errors": 12}


@pytest.mark.slow
@needs_wrk
def test_both_services_are_loaded_and_their_errors_counted(tiny_bert, tmp_path):
    command = [sys.executable, "-m", "benchmarks.bench", "--only", "serve", "--model", tiny_bert]
    command += ["--output_dir", tmp_path, "--rows", "100", "--clients", "1", "4", "--seconds", "1", "--rounds", "2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "bench.json").read_text())["service"]
    assert [(line["service"], line["clients"]) for line in lines] == [
        ("**this service**", 1),
        ("… without batching", 1),
        ("**this service**", 4),
        ("… without batching", 4),
    ]
    assert all(line["requests"] > 0 and line["errors"] == 0 for line in lines)
    assert all(0 < line["p50_ms"] <= line["p99_ms"] for line in lines)
    assert done.stdout.count("| **this service** |") == 2
