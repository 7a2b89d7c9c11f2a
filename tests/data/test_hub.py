"""What is asked of the Hub: names, the way to it, its refusals in one sentence each, and its cache without it."""

import re
import socket
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub.utils import close_session
from support.hub import OTHERS, TOKEN, point_to
from support.proxy import Proxy

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data import hub as client
from bert_recipes.data.hub import HubName, download_model, parse_hub_name, why_hub_is_out_of_reach
from bert_recipes.data.sources import read_source
from bert_recipes.errors import UserError
from bert_recipes.modeling.pretrained import resolve_model

ROWS = "text,label\n" + "".join(f"text number {i},{i % 2}\n" for i in range(20))
PINNED = "0" * 40


@pytest.fixture(params=["model", "data set"])
def kind(request):
    return request.param


@pytest.fixture
def publish(hub, kind, tiny_bert):
    """A function that puts a model, or a data set, on the Hub and returns its commit."""

    def add(name="owner/name", more=None, **how):
        if kind == "model":
            files = {file.name: file.read_bytes() for file in tiny_bert.iterdir()}
            return hub.model(name, files | (more or {}), **how)
        return hub.dataset(name, {"train.csv": ROWS} | (more or {}), **how)

    return add


@pytest.fixture
def load(kind):
    """A function that reads a model, or a data set, by its name."""
    return resolve_model if kind == "model" else lambda name: read_source(DataArguments(dataset=[name]))


def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("owner/name", HubName("owner/name")),
        ("owner/name@v1.0", HubName("owner/name", None, "v1.0")),
        ("owner/name:mrpc", HubName("owner/name", "mrpc")),
        ("owner/name:mrpc@refs/pr/1", HubName("owner/name", "mrpc", "refs/pr/1")),
    ],
)
def test_a_name_says_repository_subset_and_revision(name, parsed):
    assert parse_hub_name(name) == parsed
    assert str(parsed) == name


@pytest.mark.parametrize(
    "name",
    ["name", "a/b/c", "./a/b", "~/a", "owner/name@", "owner/name:", "owner/name:@v1", "owner/name@v1:mrpc", "o/a b"],
)
def test_what_is_no_name(name):
    assert parse_hub_name(name) is None


def token(value):
    return lambda hub, monkeypatch: monkeypatch.setenv("HF_TOKEN", value)


def failing(*answer, **content):
    return lambda hub, monkeypatch: hub.fail("/api/", *answer, **content)


def nothing(hub, monkeypatch):
    pass


NAME = "owner/name"


@pytest.mark.parametrize(
    ("how", "prepare", "name", "sentence"),
    [
        ({}, nothing, "owner/nmae", r"the Hub shows no KIND owner/nmae: check the spelling .*hf auth login"),
        ({"private": True}, nothing, NAME, r"the Hub shows no KIND owner/name: .* if it is private, .*auth login"),
        ({"private": True}, token(OTHERS), NAME, "the Hub shows no KIND owner/name"),
        ({"gated": True}, nothing, NAME, r"name is gated: accept its terms on http://\S+/owner/name, .*auth login"),
        ({"gated": True}, token(OTHERS), NAME, "name is gated: accept its terms on"),
        ({}, nothing, f"{NAME}@v9", "owner/name has no revision v9: name a branch, a tag or a commit"),
        ({}, nothing, f"{NAME}@{PINNED}", f"owner/name has no revision {PINNED}"),
        ({}, token("hf_wrong"), NAME, r"the Hub refuses the token: .*hf auth login, or in HF_TOKEN"),
        ({}, failing(429), NAME, r"asked too often \(429\): .* again in some minutes"),
        ({}, failing(500), NAME, r"a fault of its own \(500\): .* again later"),
        ({}, failing(200), NAME, r"the answer is not the Hub's .*: check HF_ENDPOINT and the proxy"),
        ({}, failing(200, body=b"<html>"), NAME, r"the answer is not the Hub's .*: check HF_ENDPOINT and the proxy"),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_to_do(
    how, prepare, name, sentence, publish, load, kind, hub, monkeypatch
):
    publish(**how)
    prepare(hub, monkeypatch)
    with pytest.raises(UserError, match=sentence.replace("KIND", kind)) as refused:
        load(name)
    said = str(refused.value)
    assert said.startswith(f"--{kind.replace(' ', '')} {name}")
    assert re.search("cannot be had from the Hub: |there is no such file or folder here, and the Hub shows no ", said)
    assert "\n" not in said
    assert len(hub.log) < 10, "refused at once, and not tried for a minute"


@pytest.mark.parametrize("change", [{"gated": True}, {"private": True}])
def test_with_the_right_token_it_is_had(change, publish, load, monkeypatch):
    publish("somebody/name", **change)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load("somebody/name")


def test_a_connection_that_breaks_once_is_taken_up_again(publish, load, hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    publish()
    hub.cut(r"/resolve/.*/(model.safetensors|train.csv)", after=100, times=1)
    load("owner/name")
    assert not hub.faults[0].times


def test_a_connection_that_keeps_breaking_leaves_nothing_half(publish, load, hub, kind, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    publish()
    hub.cut(r"/resolve/.*/(model.safetensors|train.csv)", after=100)
    with pytest.raises(UserError, match=r"the connection failed \(.*\): give the same command again, which keeps"):
        load("owner/name")
    # What is half there is not taken for the whole where the Hub is not asked, either.
    hub.faults.clear()
    offline(monkeypatch)
    with pytest.raises(UserError, match="not all of its files are in the cache, and the Hub cannot be reached"):
        load("owner/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.log.clear()
    load("owner/name")
    whole = [line.split("/")[-1] for line in hub.asked("GET") if "/resolve/" in line]
    assert set(whole) <= {"model.safetensors 200", "train.csv 200"}, "what came whole came again"


@pytest.mark.parametrize("away", ["HF_HUB_OFFLINE", "nobody answers", "it answers with an error"])
def test_what_is_in_the_cache_is_taken_where_the_hub_cannot_be_asked(
    away, publish, load, hub, kind, monkeypatch, capsys
):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    first = publish()
    load("owner/name")
    newest = publish(more={"test.csv": ROWS} if kind == "data set" else {"extra.json": "{}"})
    load("owner/name")
    load(f"owner/name@{first}")
    capsys.readouterr()
    if away == "HF_HUB_OFFLINE":
        offline(monkeypatch)
    elif away == "nobody answers":
        hub.stop()
    else:
        hub.fail("/api/", 503)
    for name, commit in (("owner/name", newest), (f"owner/name@{first}", first), (f"owner/name@{newest}", newest)):
        loaded = load(name)
        assert (Path(loaded).name if kind == "model" else loaded.name.split("@")[1]) == commit
        said = capsys.readouterr().err
        assert (f"is taken from the cache, as of commit {newest}" in said) == (
            away == "nobody answers" and name == "owner/name"
        )
    for name in (f"owner/name@{PINNED}", "owner/name@v2", "owner/other"):
        with pytest.raises(UserError, match=r"it is not in the cache|a fault of its own"):
            load(name)


def test_the_hub_is_asked_for_what_may_have_changed_and_for_nothing_else(publish, load, hub, kind, monkeypatch):
    first = publish()
    load(f"owner/name@{first}")
    hub.log.clear()
    load(f"owner/name@{first}")
    assert hub.log == []
    load("owner/name")
    assert hub.asked("/revision/main")
    newest = publish(more={"test.csv": ROWS, "added.json": "{}"})
    loaded = load("owner/name")
    assert newest in (loaded if kind == "model" else loaded.name)
    # The other processes of a run take what the main one has just taken.
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    hub.log.clear()
    load("owner/name")
    assert hub.log == []


def test_a_model_that_from_pretrained_has_cached_is_completed_where_the_hub_is_there(hub, tiny_bert):
    from huggingface_hub import hf_hub_download

    commit = hub.model("owner/name", tiny_bert)
    hf_hub_download("owner/name", "config.json", revision=commit)
    folder = download_model(HubName("owner/name", None, commit))
    assert (folder / "model.safetensors").is_file()


def test_only_what_a_model_needs_is_fetched(hub, tiny_bert):
    files = {file.name: file.read_bytes() for file in tiny_bert.iterdir()}
    more = {"pytorch_model.bin": "pickled", "flax_model.msgpack": "x", "modeling.py": "", "README.md": ""}
    hub.model("owner/name", files | more)
    names = {file.name for file in download_model(HubName("owner/name")).iterdir()}
    assert names == {name for name in files if name != "README.md"}
    names = {file.name for file in download_model(HubName("owner/name"), trust_remote_code=True).iterdir()}
    assert "modeling.py" in names
    assert "pytorch_model.bin" not in names
    # An older model has nothing else.
    del files["model.safetensors"]
    hub.model("owner/older", files | more)
    assert (download_model(HubName("owner/older")) / "pytorch_model.bin").is_file()


def test_a_cache_that_cannot_be_written_is_named(publish, load, monkeypatch, tmp_path):
    publish()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be kept \(.*\): name another folder for the cache in HF_HOME"):
        load("owner/name")


def test_a_proxy_is_gone_through(publish, load, hub, monkeypatch):
    publish()
    # No name server knows this host, so whoever gets an answer has been to the proxy.
    point_to("http://hub.invalid", monkeypatch)
    assert why_hub_is_out_of_reach()
    proxy = Proxy(hub.address)
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    close_session()
    assert why_hub_is_out_of_reach() is None
    load("owner/name")
    assert "HEAD http://hub.invalid/" in proxy.log
    assert any("/resolve/" in line for line in proxy.log)
    monkeypatch.setenv("NO_PROXY", "hub.invalid")
    close_session()
    assert why_hub_is_out_of_reach()
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.parametrize("proxy", ["ftp://proxy", "http://proxy:port", "http://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_a_reason(proxy, hub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    close_session()
    assert "nothing within" not in why_hub_is_out_of_reach()


@pytest.mark.parametrize("endpoint", ["no-scheme", "http://", "http://a b", "http://[::1", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_a_reason(endpoint, monkeypatch):
    point_to(endpoint, monkeypatch)
    assert "nothing within" not in why_hub_is_out_of_reach()


def test_a_name_server_that_hangs_costs_seconds(monkeypatch):
    point_to("http://hub.invalid", monkeypatch)
    ended = threading.Event()

    def hang(*_, **__):
        ended.wait()
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", hang)
    started = time.monotonic()
    assert why_hub_is_out_of_reach(seconds=0.2) == "nothing within 0.2 seconds"
    assert time.monotonic() - started < 3
    ended.set()
    assert client.HUB_TIMEOUT <= 6
