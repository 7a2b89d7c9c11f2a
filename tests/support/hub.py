"""A stand-in of the Hub's HTTP API on localhost, for the real clients to talk to."""

import base64
import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants
from huggingface_hub.utils import close_session

TOKEN = "hf_the_secret"
OTHERS = "hf_of_somebody_else"  # valid, but it may read neither what is private nor what is gated
READER = "hf_that_only_reads"
USERS = {TOKEN: ("somebody", "write"), OTHERS: ("other", "write"), READER: ("somebody", "read")}
REVISION_MISSING = ({"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, 404)
ENTRY_MISSING = ({"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, 404)


@dataclass
class Repository:
    """The commits of a model or a data set, each a dict of files, and what its branches point to."""

    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files in one commit to a branch, and return the commit."""
        parent = self.branches.get(branch, "")
        content = self.commits.get(parent, {".gitattributes": b"*.bin filter=lfs\n"}) | files
        sha = hashlib.sha1(parent.encode())
        for path, data in sorted(content.items()):
            sha.update(path.encode() + b"\0" + hashlib.sha1(data).digest())
        self.branches[branch] = sha.hexdigest()
        self.commits[sha.hexdigest()] = content
        return sha.hexdigest()


@dataclass
class Fault:
    """What happens to requests whose `METHOD /path` matches `where`: an error, or a body cut after so many bytes."""

    where: str
    times: int | None
    status: int = 0
    body: bytes = b'{"error": "it was asked to fail"}'
    cut_after: int | None = None


class Hub(ThreadingHTTPServer):
    """A Hub of its own; `log` holds what was asked, as `METHOD /path STATUS`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def model(self, name, files, branch="main", **how):
        """Add a commit to a model, and return it; `files` is a folder or a dict of contents."""
        return self._add("models", name, files, branch, **how)

    def dataset(self, name, files, branch="main", **how):
        """Add a commit to a data set, and return it; `files` is a folder or a dict of contents."""
        return self._add("datasets", name, files, branch, **how)

    def _add(self, kind, name, files, branch, **how):
        if isinstance(files, Path):
            files = {str(f.relative_to(files)): f.read_bytes() for f in files.rglob("*") if f.is_file()}
        contents = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        return self.repositories.setdefault((kind, name), Repository(**how)).commit(contents, branch)

    def fail(self, where, status, times=None, **content):
        """Answer `times` requests that match with an error, or all of them."""
        self.faults.append(Fault(where, times, status, **content))

    def cut(self, where, after, times=None):
        """Break the connection of `times` requests that match, or of all, at byte `after` of the file."""
        self.faults.append(Fault(where, times, cut_after=after))

    def fault(self, request):
        """Return the first fault that is meant for a request."""
        for fault in self.faults:
            # There is nothing to cut in the answer to a HEAD.
            meant = fault.status or request.startswith("GET")
            if fault.times != 0 and meant and re.search(fault.where, request):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def asked(self, part):
        """Return the requests whose line in the log has `part`."""
        return [line for line in self.log if part in line]

    def environment(self, home, **more):
        """Return the environment of a process that knows only this Hub, with its cache and its token in `home`."""
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE"):
            own.pop(name, None)
        return own | {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"} | more

    def take_over(self, monkeypatch, home):
        """Make this process know only this Hub, with its cache and its token in `home`."""
        point_to(self.address, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(home / "datasets"))
        monkeypatch.delenv("HF_TOKEN", raising=False)

    def stop(self):
        """Answer no more: what is asked from now on finds nobody there."""
        self.shutdown()
        self.server_close()
        close_session()


def point_to(address, monkeypatch):
    """Make the clients of this process ask `address`, which they have read from the environment at their import."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", address)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    close_session()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub
    ROUTES = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_card"),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?", "info"),
        ("GET", r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?", "tree"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/([^/]+)", "paths"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        ("POST", r"/api/(models|datasets)/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
        ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "large_files"),
        ("PUT", r"/stored/(\w+)", "store"),
        ("GET|HEAD", r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
        ("GET|HEAD", r"/", "front_page"),
    )

    def log_message(self, *args):
        pass

    def handle_any(self):
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.sent += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.request = f"{self.command} {self.path}"
        self.failing = self.server.fault(self.request)
        if self.failing and self.failing.status:
            return self.answer(self.failing.body, status=self.failing.status)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in USERS:
            wrong = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self.answer({"error": "Invalid username or password."}, wrong, 401)
        self.user, self.role = USERS.get(token, (None, None))
        for methods, pattern, name in self.ROUTES:
            if self.command in methods.split("|") and (m := re.fullmatch(pattern, urlsplit(self.path).path)):
                return getattr(self, name)(*(unquote(group) if group else group for group in m.groups()))
        return self.answer({"error": "Not Found"}, status=404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - the names that http.server calls

    def answer(self, content=None, headers=(), status=200):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        length = dict(headers).get("Content-Length", len(body))
        self.server.log.append(f"{self.request} {status}")
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers) | {"Content-Length": length}).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            if int(length) > len(body):
                self.close_connection = True

    def found(self, kind, name, revision=None):
        """Return the repository and its commit, or answer that there is none."""
        repository = self.server.repositories.get((kind, name))
        if repository is None or (repository.private and self.user != name.split("/")[0]):
            missing = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self.answer({"error": "Repository not found"}, missing, 404 if self.user else 401)
            return None, None
        commit = repository.branches.get(revision or "main", revision)
        if commit not in repository.commits:
            self.answer({"error": "Invalid rev id"}, *REVISION_MISSING)
            return None, None
        return repository, commit

    def front_page(self):
        self.answer(b"<html>", {"Content-Type": "text/html"})

    def whoami(self):
        if self.user is None:
            return self.answer({"error": "Invalid username or password."}, status=401)
        token = {"displayName": "t", "role": self.role}
        return self.answer({"type": "user", "name": self.user, "orgs": [], "auth": {"accessToken": token}})

    def create(self):
        asked = json.loads(self.sent)
        owner = asked.get("organization") or self.user
        if owner != self.user or self.role != "write":
            wrong = {"X-Error-Message": f"You don't have the rights to create a model under the namespace {owner!r}."}
            return self.answer({"error": wrong["X-Error-Message"]}, wrong, 403)
        name = f"{owner}/{asked['name']}"
        url = f"{self.server.address}/{name}"
        if ("models", name) in self.server.repositories:
            return self.answer({"error": "You already created this model repo", "url": url}, status=409)
        self.server.repositories["models", name] = Repository(private=asked.get("visibility") == "private")
        return self.answer({"url": url, "name": name})

    def validate_card(self):
        self.answer({"errors": [], "warnings": []})

    def info(self, kind, name, revision):
        repository, commit = self.found(kind, name, revision)
        if repository:
            files = [{"rfilename": path} for path in repository.commits[commit]]
            self.answer({"id": name, "sha": commit, "private": repository.private, "siblings": files, "tags": []})

    def tree(self, kind, name, revision, under):
        repository, commit = self.found(kind, name, revision)
        if repository is None:
            return None
        entries = {}
        for path, data in repository.commits[commit].items():
            rest = path.removeprefix(f"{under}/") if under else path
            if rest != path or not under:
                folders = rest.split("/")[:-1]
                if folders and "recursive=true" not in self.path:
                    entries[folders[0]] = {"type": "directory", "path": path[: -len(rest)] + folders[0], "oid": "0"}
                else:
                    entries[path] = file_entry(path, data)
        if not entries:
            return self.answer({"error": "Entry not found"}, *ENTRY_MISSING)
        return self.answer(list(entries.values()))

    def paths(self, kind, name, revision):
        repository, commit = self.found(kind, name, revision)
        if repository:
            wanted = json.loads(self.sent)["paths"]
            self.answer([file_entry(p, d) for p, d in repository.commits[commit].items() if p in wanted])

    def resolve(self, prefix, name, revision, path):
        repository, commit = self.found("datasets" if prefix else "models", name, revision)
        if repository is None:
            return None
        if repository.gated and self.user != name.split("/")[0]:
            gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {name} is restricted."}
            return self.answer({"error": gated["X-Error-Message"]}, gated, 403 if self.user else 401)
        data = repository.commits[commit].get(path)
        if data is None:
            headers, status = ENTRY_MISSING
            return self.answer({"error": "Entry not found"}, headers | {"X-Repo-Commit": commit}, status)
        headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        start, status = 0, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start, status = int(wanted[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": len(data) - start}
        end = self.failing.cut_after if self.failing else None
        return self.answer(data[start:end], headers, status)

    def preupload(self, kind, name, revision):
        def mode(path):
            return "lfs" if path.endswith(".safetensors") else "regular"

        paths = [file["path"] for file in json.loads(self.sent)["files"]]
        self.answer({"files": [{"path": p, "uploadMode": mode(p), "shouldIgnore": False} for p in paths]})

    def large_files(self, name):
        def upload(oid):
            return {"actions": {"upload": {"href": f"{self.server.address}/stored/{oid}"}}}

        objects = json.loads(self.sent)["objects"]
        self.answer({"transfer": "basic", "objects": [one | upload(one["oid"]) for one in objects]})

    def store(self, oid):
        self.server.stored[oid] = self.sent
        self.answer({}, status=200 if hashlib.sha256(self.sent).hexdigest() == oid else 422)

    def commit(self, kind, name, revision):
        files = {}
        for line in map(json.loads, self.sent.decode().splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.server.stored[line["value"]["oid"]]
        oid = self.server.repositories[kind, name].commit(files, revision)
        url = f"{self.server.address}/{name}"
        self.answer({"success": True, "url": url, "commitUrl": f"{url}/commit/{oid}", "commitOid": oid})


def file_entry(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": etag(data)}


def etag(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
