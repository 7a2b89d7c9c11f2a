"""A package that is missing is named, with the extra that brings it."""

import re
import tomllib

import pytest
from support.paths import ROOT

from bert_recipes.errors import UserError
from bert_recipes.extras import INSTALL_TRAIN, OF_TRAIN, asking_for_extra, missing_package


def test_every_package_of_the_extra_is_missed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w.-]+", line)[0] for line in project["optional-dependencies"]["train"]}
    assert wanted - {"scikit-learn"} | {"sklearn"} <= OF_TRAIN
    assert not OF_TRAIN & {re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]}


def test_a_package_of_training_is_named_with_its_extra():
    with (
        pytest.raises(UserError, match=r"^br.train needs torch, which is not installed: pip install 'bert-rec"),
        asking_for_extra("br.train"),
    ):
        raise ModuleNotFoundError(name="torch.nn")
    assert INSTALL_TRAIN == "pip install 'bert-recipes[train]'"


@pytest.mark.parametrize("name", [None, "my_own_module", "torchvision"])
def test_any_other_module_is_none_of_its_business(name):
    with pytest.raises(ModuleNotFoundError), asking_for_extra("br.train"):
        raise ModuleNotFoundError(name=name)
    assert missing_package(ModuleNotFoundError(name=name)) is None
