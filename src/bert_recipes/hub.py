"""Sharing a finished run on the Hub: `--push_to_hub`."""

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from bert_recipes.errors import UserError
from bert_recipes.sources import why_hub_is_out_of_reach


class HubPush:
    """Where a run goes when it is finished; made before the training, so that what would fail then is said now.

    Args:
        repository: `owner/name`, or `name` for the owner of the token.
        token: by default the one that `hf auth login` left.
        private: whether a repository that is made for it is private.

    Raises:
        UserError: the name is not valid, there is no token, or the Hub is out of reach or refuses the token.
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
            owner = HfApi(token=self.token).whoami()["name"]
        except HfHubHTTPError as error:
            raise UserError(f"--push_to_hub: the Hub refuses the token ({_first_line(error)}).") from error
        self.repository = repository if "/" in repository else f"{owner}/{repository}"

    def push(self, run_folder: Path) -> str:
        """Upload the model with its card in one commit, and return the repository's address.

        Raises:
            UserError: the Hub did not take it; the run itself is finished.
        """
        files = {file.name: file for file in (run_folder / "model").iterdir()} | {
            "README.md": run_folder / "README.md"
        }
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        api = HfApi(token=self.token)
        try:
            api.create_repo(self.repository, private=self.private, exist_ok=True)
            commit = api.create_commit(self.repository, operations, commit_message="Add the model of a finished run")
        except (HfHubHTTPError, OSError) as error:
            raise UserError(
                f"the run in {run_folder} is finished, and the Hub did not take it ({_first_line(error)}): push it "
                f"with hf upload {self.repository} {run_folder / 'model'}."
            ) from error
        return commit.repo_url


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
