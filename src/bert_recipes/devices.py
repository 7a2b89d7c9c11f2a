"""What the machine has and what a process takes of it."""

import re
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory so far, as the system counts them."""
    if Path("/proc/self/status").exists():
        # On Linux a new process inherits the maximum that getrusage tells from the one that started it.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
