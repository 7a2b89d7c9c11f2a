"""The Hub: whether it can be asked, what is fetched from it or found in its cache, and its errors in plain words."""

import contextlib
import functools
import importlib
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session, validate_repo_id

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.files import NO_SPACE
from bert_recipes.terminal import say_beside_data

HUB_TIMEOUT = 5.0  # seconds
COMMIT = re.compile(r"[0-9a-f]{40}")
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
KINDS = {"model": "model", "dataset": "data set"}
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.codes")
# What asking the Hub raises: errors of the network are no OSErrors (and the client is httpx or, by now, httpx2), an
# upload's are RuntimeErrors, and an answer that is not the Hub's is a ValueError or a KeyError.
HUB_ERRORS = (
    HTTPError,
    importlib.import_module(HTTPError.__module__.partition(".")[0]).InvalidURL,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
)


class OutOfReachError(UserError):
    """What is asked of the Hub is not in its cache, and the Hub cannot answer now."""


@dataclass(frozen=True)
class HubName:
    """What `owner/name`, `owner/name@revision` or, of a data set, `owner/name:subset@revision` says."""

    repository: str
    subset: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        subset = f":{self.subset}" if self.subset else ""
        return f"{self.repository}{subset}" + (f"@{self.revision}" if self.revision else "")

    def at(self, commit: str) -> "HubName":
        """Return the name that says the same of this commit, for ever."""
        return replace(self, revision=commit)


def parse_hub_name(name: str) -> HubName | None:
    """Return what `name` says, or None where it is no name on the Hub."""
    found = re.fullmatch(r"(?P<repository>[^/:@]+/[^/:@]+)(:(?P<subset>[^@]+))?(@(?P<revision>[^:@\s]+))?", name)
    if found is None or name.startswith((".", "~")):
        return None
    try:
        validate_repo_id(found["repository"])
    except HFValidationError:
        return None
    return HubName(**found.groupdict())


def why_hub_is_out_of_reach(file: str = "", seconds: float = HUB_TIMEOUT) -> str | None:
    """Return why the Hub cannot be asked, within a few seconds, or None where it answers.

    Args:
        file: a file's path that has to be there; by default any answer will do.
        seconds: how long to wait.
    """
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    # A thread, since a name server that hangs heeds no timeout of a socket's.
    answers: list[str | None] = []
    asking = threading.Thread(target=_ask, args=(file, seconds, answers), daemon=True)
    asking.start()
    asking.join(seconds + 1)
    return answers[0] if answers else f"nothing within {seconds:g} seconds"


def _ask(file: str, seconds: float, answers: list[str | None]) -> None:
    try:
        # As everything else is asked: through the proxy that the environment names, and at a mirror.
        response = get_session().head(f"{constants.ENDPOINT}/{file}", timeout=seconds, follow_redirects=bool(file))
        failed = file and response.status_code >= 400
        answers.append(f"{response.status_code} {response.reason_phrase}" if failed else None)
    except (*HUB_ERRORS, ImportError) as error:  # a SOCKS proxy needs a package
        answers.append(in_one_line(error))


def in_plain_words(error: BaseException, name: HubName, kind: str = "model") -> str:
    """Return what an error of `HUB_ERRORS` says, and what to do."""
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name.repository}"
    if isinstance(error, GatedRepoError):
        return (
            f"{name.repository} is gated: accept its terms on {page}, give that account's token with hf auth login, "
            "and then the same command again"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the Hub shows no {KINDS[kind]} {name.repository}: check the spelling or, if it is private, give the "
            "token of an account that may read it with hf auth login"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{name.repository} has no revision {name.revision}: name a branch, a tag or a commit that {page} shows, "
            "or leave it out for the newest"
        )
    status = status_of(error)
    if status == 401:
        return (
            "the Hub refuses the token: give a valid one with hf auth login, or in HF_TOKEN, which is taken first if "
            "it is set"
        )
    if status == 429:
        return (
            "the Hub answers that it was asked too often (429): give the same command again in some minutes; with a "
            "token, by hf auth login, it may be asked more often"
        )
    if status is not None and status >= 500:
        return f"the Hub has a fault of its own ({status}): give the same command again later"
    said = in_one_line(error)
    if (isinstance(error, HTTPError) and status is None) or said.startswith("Consistency check failed"):
        return f"the connection failed ({said}): give the same command again, which keeps the files that came whole"
    if isinstance(error, ValueError | KeyError) and status is None:
        return f"the answer is not the Hub's ({said}): check HF_ENDPOINT and the proxy"
    return said


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status with which the Hub refused, or None where the error is of another kind."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


@dataclass(frozen=True)
class HubFiles:
    """The files of one repository.

    Args:
        name: of the repository.
        kind: of the repository.
        what: the flag and its value, for sentences.
        alternatives: what may be given in its place and needs no network.
    """

    name: HubName
    kind: Literal["model", "dataset"]
    what: str
    alternatives: Sequence[str]

    def fetch(self, patterns: Sequence[str] | None, revision: str | None) -> Path:
        """Return the folder, named by its commit, that holds those files that match `patterns`, or all.

        A commit that is whole in the cache is not asked for again. Anything else is, and taken from the cache where
        the Hub cannot be reached.

        Raises:
            OutOfReachError: the Hub cannot be asked now, and the files are not in the cache.
            UserError: the Hub refuses.
        """
        get = functools.partial(
            snapshot_download,
            self.name.repository,
            repo_type=self.kind,
            revision=revision,
            allow_patterns=None if patterns is None else list(patterns),
        )
        # The processes beside the main one come after it, and have to take what it took.
        if (revision and COMMIT.fullmatch(revision) and self.listed(revision)) or _main_process_was_here():
            with contextlib.suppress(LocalEntryNotFoundError):
                return Path(get(local_files_only=True))
        reason = why_hub_is_out_of_reach()
        if reason is None:
            try:
                folder = Path(get())
            except HUB_ERRORS as error:
                failure = self._failure(error)
            else:
                # The client, too, takes what the cache has where the Hub fails.
                if self._can_be_judged(folder.name):
                    return folder
                failure = OutOfReachError(f"{self.what} cannot be had from the Hub, which does not list its files.")
        else:
            failure = OutOfReachError(
                f"{self.what}: there is no such file or folder here, {self._in_cache(revision)}, and the Hub cannot "
                f"be reached ({reason}); give a local path, or take {' or '.join(self.alternatives)}, which needs "
                "no network."
            )
        return self._cached(get, revision, failure)

    def warn_of_cache(self, revision: str | None, commit: str) -> None:
        """Say what commit of the cache stands for a revision that the Hub could not be asked for."""
        if not (COMMIT.fullmatch(revision or "") or constants.HF_HUB_OFFLINE):
            sentence = f"{self.what} is taken from the cache, as of commit {commit}: the Hub cannot be asked now."
            say_beside_data(f"warning: {sentence}")

    def commit_in_cache(self) -> str | None:
        """Return the commit that the revision was when the cache last heard of it."""
        revision = self.name.revision or constants.DEFAULT_REVISION
        if COMMIT.fullmatch(revision):
            return revision
        folder = repo_folder_name(repo_id=self.name.repository, repo_type=self.kind)
        reference = Path(constants.HF_HUB_CACHE) / folder / "refs" / revision
        return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None

    def listed(self, revision: str | None) -> list[str] | None:
        """Return the paths of all files of a revision that the cache knows, be they in it or not."""
        try:
            files = get_cached_repo_tree(self.name.repository, repo_type=self.kind, revision=revision)
        except CachedRepoTreeNotFoundError:
            return None
        return [file.path for file in files]

    def _can_be_judged(self, revision: str | None) -> bool:
        # Of a folder without a list nobody knows whether it is whole; a model is looked at before it is loaded.
        return self.kind == "model" or self.listed(revision) is not None

    def _cached(self, get: "functools.partial[str]", revision: str | None, failure: OutOfReachError) -> Path:
        if not self._can_be_judged(revision):
            raise failure
        try:
            folder = Path(get(local_files_only=True))
        except LocalEntryNotFoundError:
            raise failure from failure.__cause__
        self.warn_of_cache(revision, folder.name)
        return folder

    def _in_cache(self, revision: str | None) -> str:
        if self.listed(revision) is None:
            return "it is not in the cache"
        return "not all of its files are in the cache"

    def _failure(self, error: Exception) -> OutOfReachError:
        """Return the failure that the cache may make good; raise any other."""
        if getattr(error, "errno", None) in NO_SPACE:
            raise error
        # The client tries the cache, too, and tells of that; why it had to is the cause.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        said = in_plain_words(cause, self.name, self.kind)
        sentence = f"{self.what} cannot be had from the Hub: {said}."
        if isinstance(cause, RepositoryNotFoundError) and not isinstance(cause, GatedRepoError):
            sentence = f"{self.what}: there is no such file or folder here, and {said}."
        elif isinstance(cause, OSError) and cause.errno is not None:
            sentence = f"{self.what} cannot be kept ({said}): name another folder for the cache in HF_HOME."
        status = status_of(cause)
        if status is None or status == 429 or status >= 500:
            failure = OutOfReachError(sentence)
            failure.__cause__ = error
            return failure
        raise UserError(sentence) from error


def _main_process_was_here() -> bool:
    rank = os.environ.get("RANK", "0")
    return rank != "0" and rank == os.environ.get("LOCAL_RANK")


def download_model(name: HubName, *, trust_remote_code: bool = False) -> Path:
    """Return the folder of a model, fetched from the Hub or found in its cache.

    Args:
        name: of the model.
        trust_remote_code: whether the model's own code may run, and so is fetched too.

    Raises:
        UserError: it is not in the cache, and the Hub refuses it or is out of reach.
    """
    files = HubFiles(name, "model", f"--model {name}", ["--model embedded:minilm"])
    patterns = [*MODEL_FILES, *(["*.py"] if trust_remote_code else [])]
    folder = files.fetch(patterns, name.revision)
    if any((folder / file).is_file() for file in SAFETENSORS):
        return folder
    return files.fetch([*patterns, "pytorch_model*.bin"], folder.name)
