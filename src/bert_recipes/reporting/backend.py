"""Imports matplotlib whatever backend the environment names.

A notebook's kernel passes `MPLBACKEND=module://matplotlib_inline.backend_inline` on to every program that a cell
starts, and where that package is not installed matplotlib refuses to be imported. Figures are written to files here,
which needs no backend.
"""

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    _named = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if _named is not None:
        os.environ["MPLBACKEND"] = _named
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = _named
