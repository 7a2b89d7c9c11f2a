import pytest


@pytest.fixture(scope="module", autouse=True)
def figures():
    """Render them, in place of what the other tests do."""
