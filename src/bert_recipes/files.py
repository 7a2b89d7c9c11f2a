"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def writing(path: Path, mode: str = "w"):
    """Open a file beside `path` for writing; rename it to `path` when the block ends without an error.

    Args:
        path: of the file to be.
        mode: `w` for text in UTF-8, `wb` for bytes.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with beside.open(mode, **text) as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
