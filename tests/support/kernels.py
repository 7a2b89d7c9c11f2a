"""A notebook's kernel, whose cells are run one by one, as a person runs them."""

import asyncio
import os
import re
import threading

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook


class Outputs(list):
    """What a cell gave out, in nbformat's form.

    Attributes:
        messages: all that the kernel sent, replaced displays included.
    """

    def __init__(self, outputs, messages):
        super().__init__(outputs)
        self.messages = messages

    @property
    def text(self):
        """All of it that can be read, without colours."""
        parts = []
        for output in self:
            kind = output["output_type"]
            if kind == "stream":
                parts.append(output["text"])
            elif kind == "error":
                parts += output["traceback"]
            else:
                parts.append(output["data"].get("text/plain", ""))
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", "\n".join(parts))

    @property
    def error(self):
        """The class of the exception that ended the cell, or None."""
        return next((output["ename"] for output in self if output["output_type"] == "error"), None)

    def html(self, kind="display_data"):
        """Return the HTML of the last messages of a kind, each as it was sent."""
        contents = [message["content"] for message in self.messages if message["msg_type"] == kind]
        return [content["data"]["text/html"] for content in contents if "text/html" in content["data"]]


class Kernel(NotebookClient):
    """A kernel of this environment.

    Args:
        folder: its working directory.
        environment: variables laid over this process's; None takes one away.
    """

    def __init__(self, folder, environment=None):
        super().__init__(new_notebook(), timeout=180, allow_errors=True, kernel_name="python3")
        self.received = []
        merged = os.environ | (environment or {})
        self.create_kernel_manager()
        self.start_new_kernel(cwd=str(folder), env={k: v for k, v in merged.items() if v is not None})
        self.start_new_kernel_client()

    def process_message(self, msg, cell, cell_index):
        self.received.append(msg)
        return super().process_message(msg, cell, cell_index)

    def run(self, code):
        """Run a cell to its end."""
        self.received = []
        cell = new_code_cell(code)
        self.nb.cells.append(cell)
        self.execute_cell(cell, len(self.nb.cells) - 1)
        return Outputs(cell.outputs, self.received)

    def run_and_interrupt(self, code, ready):
        """Run a cell, and press the stop button once `ready()`."""

        def stop():
            while not ready() and not done.wait(0.01):
                pass
            asyncio.run(self.km.interrupt_kernel())

        done = threading.Event()
        button = threading.Thread(target=stop)
        button.start()
        try:
            return self.run(code)
        finally:
            done.set()
            button.join()

    def stop(self):
        self._cleanup_kernel()
