"""Where the files stand that tests read or start."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
# These two are scripts besides.
CUTS = Path(__file__).with_name("cuts.py")
KILLED = Path(__file__).with_name("killed.py")
OWN_CLASSIFIERS = Path(__file__).with_name("own_classifiers.py")
