"""A finished run is pushed in one commit, and what would stop that is said before the training."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.scripts import recipe

from bert_recipes.errors import UserError
from bert_recipes.runs.push import HubPush

TOKEN = "hf_the_secret"


class FakeHub(BaseHTTPRequestHandler):
    """The few answers of the Hub that a push needs; it keeps what it was sent."""

    def log_message(self, *args):
        pass

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid user token."}, 401)
        return self.answer({"name": "somebody", "type": "user", "orgs": []})

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sent.append((self.path, sent))
        if "preupload" in self.path:
            files = [file["path"] for file in json.loads(sent)["files"]]
            return self.answer({"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        if self.server.refuses and "commit" in self.path:
            return self.answer({"error": "the disk is full"}, 507)
        host = f"http://127.0.0.1:{self.server.server_port}"
        return self.answer({"url": f"{host}/somebody/x", "commitUrl": f"{host}/somebody/x/commit/1", "commitOid": "1"})


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.sent, server.refuses = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("huggingface_hub.constants.ENDPOINT", "huggingface_hub.hf_api.ENDPOINT"):
        monkeypatch.setattr(name, address, raising=False)
    yield server
    server.shutdown()
    server.server_close()


def push_flags(*more):
    return "--push_to_hub", "--hub_model_id", "somebody/mine", "--hub_token", TOKEN, *more


def test_a_finished_run_is_pushed_with_its_code_and_card(hub, competition, tiny_bert, tmp_path, capsys):
    recipe("custom", tmp_path / "run", competition, tiny_bert, *push_flags(), "--max_steps", "1", "--pooling", "mean")
    assert "Pushed to http" in capsys.readouterr().out
    created = json.loads(next(sent for path, sent in hub.sent if path == "/api/repos/create"))
    assert (created["name"], created.get("organization")) == ("mine", "somebody")
    lines = next(sent for path, sent in hub.sent if "/commit/main" in path).decode().splitlines()
    files = {line["value"]["path"] for line in map(json.loads, lines) if line["key"] == "file"}
    assert files >= {"README.md", "config.json", "model.safetensors", "tokenizer.json", "models.py", "pooling.py"}
    card = (tmp_path / "run/README.md").read_text()
    assert 'model="somebody/mine", top_k=None, trust_remote_code=True' in card
    # The secret is in none of the run's files.
    written = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert not [file.name for file in written if TOKEN.encode() in file.read_bytes()]


def test_a_push_that_fails_leaves_a_finished_run(hub, competition, tiny_bert, tmp_path):
    hub.refuses = True
    with pytest.raises(UserError, match=r"is finished, and the Hub did not take it .*hf upload somebody/mine"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, *push_flags(), "--max_steps", "1")
    assert (tmp_path / "run/metrics.json").exists()


def test_what_would_stop_a_push_is_said_before_the_training(hub, competition, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("bert_recipes.runs.push.get_token", lambda: None)
    for change, sentence in (
        (("--hub_token", "hf_other"), "the Hub refuses the token"),
        (("--hub_model_id", "a/b/c"), "--hub_model_id a/b/c is no name for a repository"),
    ):
        with pytest.raises(UserError, match=sentence):
            recipe("stock", tmp_path / "run", competition, tiny_bert, *push_flags(*change))
    with pytest.raises(UserError, match="needs a token that may write: hf auth login"):
        recipe("stock", tmp_path / "run", competition, tiny_bert, "--push_to_hub")
    assert not (tmp_path / "run").exists()
    assert HubPush("mine", TOKEN, None).repository == "somebody/mine"


def test_without_a_hub_it_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        HubPush("somebody/mine", TOKEN, None)
