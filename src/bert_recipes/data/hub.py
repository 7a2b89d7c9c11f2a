"""Whether the Hub can be asked, and what to do where it cannot."""

import socket
import threading
from urllib.parse import urlparse

from huggingface_hub import constants

from bert_recipes.errors import UserError

HUB_TIMEOUT = 5.0  # seconds


def why_hub_is_out_of_reach() -> str | None:
    """Return why the Hub cannot be asked, within a few seconds, or None where it answers."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    # A thread, since a name server that hangs heeds no timeout of a socket's.
    answers: list[str | None] = []
    asking = threading.Thread(target=_connect, args=(constants.ENDPOINT, answers), daemon=True)
    asking.start()
    asking.join(HUB_TIMEOUT + 1)
    return answers[0] if answers else f"nothing within {HUB_TIMEOUT:.0f} seconds"


def _connect(endpoint: str, answers: list[str | None]) -> None:
    url = urlparse(endpoint)
    try:
        port = url.port or {"http": 80}.get(url.scheme, 443)
        socket.create_connection((url.hostname, port), timeout=HUB_TIMEOUT).close()
        answers.append(None)
    except OSError as error:
        answers.append(str(error))


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
