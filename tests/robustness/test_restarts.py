"""The restart under load: what counts as lost, and that nothing is."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from restarts import Tally, ask

PREDICTION = b'{"predictions": [{"prediction": "cake"}]}'


def answering(status, body):
    """Return what answers a request so, or with None closes its connection."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.I)[1]))
        if status is not None:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    return answer


async def asked(port, tally):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        await asyncio.wait_for(ask(client, "cake", tally), 20)
    return tally


@pytest.mark.parametrize(
    ("status", "body", "lost"),
    [
        (200, PREDICTION, []),
        (None, b"", ["RemoteProtocolError"]),
        (503, b"{}", ["status 503"]),
        (200, b'{"predictions": []}', ["status 200"]),
    ],
)
def test_what_is_sent_and_not_answered_with_a_prediction_is_lost(status, body, lost):
    async def main():
        async with await asyncio.start_server(answering(status, body), "127.0.0.1", 0) as server:
            return await asked(server.sockets[0].getsockname()[1], Tally())

    tally = asyncio.run(main())
    assert [said.split(":")[0] for said in tally.lost] == lost
    assert (tally.answered, tally.refused) == (len(lost) == 0, [])


def test_a_client_that_is_refused_tries_again():
    async def main():
        tally = Tally()
        async with await asyncio.start_server(answering(200, PREDICTION), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        asking = asyncio.create_task(asked(port, tally))
        while len(tally.refused) < 2 and not asking.done():
            await asyncio.sleep(0.01)
        async with await asyncio.start_server(answering(200, PREDICTION), "127.0.0.1", port):
            return await asking

    tally = asyncio.run(main())
    assert (tally.answered, tally.lost) == (1, [])
    assert len(tally.refused) >= 2
    assert tally.longest >= tally.refused[-1] - tally.refused[0]


@pytest.mark.slow
def test_a_restart_loses_no_request():
    script = Path(__file__).with_name("restarts.py")
    command = [sys.executable, str(script), "--seconds", "10", "--clients", "16"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    answered, before = (
        int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:requests|were) answered", done.stdout)
    )
    assert answered > before > 0  # the second process answered too
    assert " 0 lost." in done.stdout
