"""A training that dies within its process."""

import contextlib
from unittest.mock import patch

import pytest

from bert_recipes.training.trainer import RecipeTrainer


@contextlib.contextmanager
def dying_after(step):
    """Let a training that is begun within die once it has made so many steps, and expect that it does."""
    whole = RecipeTrainer.training_step

    def dying(self, *args, **kwargs):
        if self.state.global_step == step:
            raise RuntimeError("killed")
        return whole(self, *args, **kwargs)

    with patch.object(RecipeTrainer, "training_step", dying), pytest.raises(RuntimeError, match="killed"):
        yield
