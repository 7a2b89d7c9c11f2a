"""Where a model comes from: a folder, the package index or the Hub, and whether the Hub can be asked."""

import socket
from pathlib import Path
from urllib.parse import urlparse

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from bert_recipes import embedded
from bert_recipes.errors import UserError

HUB_TIMEOUT = 5.0  # seconds


def model_source(name: str) -> str:
    """Return what `from_pretrained` takes for `--model name`: a local folder that holds a model.

    Args:
        name: a folder, `embedded:minilm`, or a Hub id as `owner/name` or `owner/name@revision`.

    Raises:
        UserError: it is none of these, or the Hub is out of reach.
    """
    if embedded.is_embedded(name):
        return str(embedded.model_path(name))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"--model {name} is no model folder: it has no config.json.")
        if not list(path.glob("*.safetensors")):
            raise UserError(f"--model {name} has no weights in the safetensors format (model.safetensors).")
        return str(path)
    repository, _, revision = name.partition("@")
    if path.exists() or repository.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"--model {name} is neither a model folder nor a Hub id (owner/name): embedded:minilm needs no hub."
        )
    files = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return snapshot_download(repository, revision=revision or None, allow_patterns=files, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the local cache: ask the Hub
    require_hub(f"--model {name}", ["--model embedded:minilm"])
    try:
        return snapshot_download(repository, revision=revision or None, allow_patterns=files)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"--model {name} cannot be had from the Hub: {str(error).splitlines()[0]}") from error


def why_hub_is_out_of_reach() -> str | None:
    """Return why the Hub cannot be asked, within a few seconds, or None where it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    url = urlparse(constants.ENDPOINT)
    try:
        socket.create_connection((url.hostname, url.port or 443), timeout=HUB_TIMEOUT).close()
    except OSError as error:
        return str(error)
    return None


def require_hub(what: str, alternatives: list[str]) -> None:
    """Check that the Hub can be reached for `what`.

    Raises:
        UserError: it cannot; the sentence names the `alternatives` that need no network.
    """
    reason = why_hub_is_out_of_reach()
    if reason:
        raise UserError(
            f"{what}: there is no such file or folder here, and the Hub cannot be reached ({reason}); give a local "
            f"path, or take {' or '.join(alternatives)}, which needs no network."
        )
