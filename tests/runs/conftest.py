import functools

import pytest
from support.scripts import recipe


@pytest.fixture(scope="session")
def finished_run(competition, tiny_bert, tmp_path_factory):
    """A function that returns the folder of a recipe's finished run, which is made when it is first asked for."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("runs") / name
        recipe(name, folder, competition, tiny_bert)
        return folder

    return make


@pytest.fixture(params=["stock", "custom"])
def finished(request, finished_run):
    """The name of a recipe and the folder of its finished run, which no test may change."""
    return request.param, finished_run(request.param)
