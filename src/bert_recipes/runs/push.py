"""Sharing a finished run on the Hub: `--push_to_hub`."""

from pathlib import Path
from typing import Any

from accelerate import PartialState
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from bert_recipes.config.parsing import Arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.hub import HUB_ERRORS, HubName, in_plain_words, status_of, why_hub_is_out_of_reach
from bert_recipes.errors import UserError
from bert_recipes.runs.folder import RunFolder


class HubPush:
    """Where a run goes when it is finished; made before the training, so that what would fail then is said now.

    Args:
        repository: `owner/name`, or `name` for the owner of the token.
        token: by default the one that `hf auth login` left.
        private: whether a repository that is made for it is private.

    Raises:
        UserError: the name is not valid, there is no token that may write, or the Hub is out of reach.
    """

    def __init__(self, repository: str, token: str | None, private: bool | None):
        self.token = token or get_token()
        self.private = private
        try:
            validate_repo_id(repository)
        except HFValidationError as error:
            raise UserError(f"--hub_model_id {repository} is no name for a repository: give owner/name.") from error
        if self.token is None:
            raise UserError("--push_to_hub needs a token that may write: hf auth login, or --hub_token.")
        reason = why_hub_is_out_of_reach()
        if reason:
            raise UserError(
                f"--push_to_hub: the Hub cannot be reached ({reason}); train without it, and push model/ later."
            )
        try:
            user = HfApi(token=self.token).whoami()
        except HUB_ERRORS as error:
            reason = in_plain_words(error, HubName(repository))
            if status_of(error) == 401:
                reason = "the Hub refuses the token: give one that may write with --hub_token, or by hf auth login"
            raise UserError(f"--push_to_hub: {reason}.") from error
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise UserError("--push_to_hub needs a token that may write, and this one only reads: make another one.")
        self.repository = repository if "/" in repository else f"{user['name']}/{repository}"

    def push(self, folder: RunFolder) -> str:
        """Upload the model with its card in one commit, and return the repository's address.

        Raises:
            UserError: the Hub did not take it; the run itself is finished.
        """
        files = {file.name: file for file in folder.model.iterdir()} | {"README.md": folder.card}
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        api = HfApi(token=self.token)
        try:
            api.create_repo(self.repository, private=self.private, exist_ok=True)
            commit = api.create_commit(self.repository, operations, commit_message="Add the model of a finished run")
        except HUB_ERRORS as error:
            # An upload's error says little: its cause is the Hub's answer.
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            raise UserError(
                f"the run in {folder.path} is finished, and the Hub did not take it "
                f"({in_plain_words(cause, HubName(self.repository))}): push it with hf upload {self.repository} "
                f"{folder.model}."
            ) from error
        return commit.repo_url


def prepare_push(args: Arguments[Any], training: RecipeTrainingArguments) -> HubPush | None:
    """Take the push out of the Trainer's hands, which would begin it before there is a model to push.

    Args:
        args: of the recipe.
        training: a run's copy of the training arguments, which loses the push and its token: that is a secret, and
            checkpoints keep all arguments.

    Returns:
        On the main process the push that was asked for, on others None.

    Raises:
        UserError: as `HubPush`; or --folds without --refit was asked for too.
    """
    if not args.training.push_to_hub:
        return None
    if args.data.folds and not args.data.refit:
        raise UserError(
            "--push_to_hub pushes one model, and with --folds there is one for each fold: leave it out, or have one "
            "trained on all rows with --refit."
        )
    training.push_to_hub = False
    training.hub_token = None
    if not PartialState().is_main_process:
        return None
    name = args.training.hub_model_id or Path(args.training.output_dir).resolve().name
    return HubPush(name, args.training.hub_token, args.training.hub_private_repo)
