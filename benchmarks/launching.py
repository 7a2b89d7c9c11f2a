"""How a module is run on one process or on several."""

import sys


def launched(module: str, processes: int = 1) -> list[str]:
    """Return the command that runs a module of this package on that many processes."""
    if processes == 1:
        return [sys.executable, "-m", module]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    launcher += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*launcher, "-m", module]
