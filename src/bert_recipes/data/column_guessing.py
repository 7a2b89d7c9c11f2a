"""Which column of a file is the text, the second text, the label and the id: by its name, unless that is said."""

from dataclasses import dataclass

from bert_recipes.errors import UserError

TEXT_NAMES = ("text", "sentence", "review", "tweet", "comment", "content", "message", "document")
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"))
LABEL_NAMES = ("label", "labels", "target", "class", "category")
ID_NAMES = ("id", "idx", "guid", "uid")


@dataclass
class Columns:
    """Which column of the data plays which part."""

    text: str
    text_pair: str | None
    label: list[str]
    id: str | None

    @property
    def used(self) -> set[str]:
        """The names of all of them."""
        return {name for name in (self.text, self.text_pair, *self.label, self.id) if name is not None}


def find_columns(
    names: list[str],
    source: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: list[str] | None = None,
    id: str | None = None,
) -> Columns:
    """Return the columns of labelled data.

    Args:
        names: of all its columns.
        source: what a sentence calls the data.
        text: as `--text_column` says; likewise the others. What is None is guessed.
        text_pair: of the second text.
        label: one column, or one for each label or target.
        id: of the id; None, where there is none of a usual name.

    Raises:
        UserError: there is no such column, none or several could be meant, or one would play two parts.
    """
    _check_there(names, source, text=[text], text_pair=[text_pair], label=label or [], id=[id])
    text, text_pair = _find_texts(names, source, text, text_pair)
    found = Columns(
        text,
        text_pair,
        label or [_guess(names, LABEL_NAMES, "label", source)],
        id or _guess_id(names, source),
    )
    chosen = [c for c in (found.text, found.text_pair, *found.label, found.id) if c is not None]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"one column cannot play two parts: text, pair, label and id are {', '.join(chosen)}.")
    return found


def find_input_columns(
    names: list[str],
    source: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    id: str | None = None,
    trained: dict[str, str | None] | None = None,
) -> Columns:
    """Return the columns of rows to predict.

    Args:
        names: of all columns.
        source: what a sentence calls the rows.
        text: as `--text_column` says; likewise the others.
        text_pair: of the second text.
        id: of the id.
        trained: what the model was trained on, by part; taken where the rows have such a column, before a guess.

    Raises:
        UserError: as `find_columns`; or the model was trained on pairs and no second text is found.
    """
    _check_there(names, source, text=[text], text_pair=[text_pair], id=[id])
    known = {part: name for part, name in (trained or {}).items() if name in names}
    text, pair = _find_texts(names, source, text or known.get("text"), text_pair or known.get("text_pair"))
    if pair is None and (trained or {}).get("text_pair"):
        raise UserError(
            f"{source}: the model was trained on pairs: name the second text with --text_pair_column; it has "
            f"{', '.join(names)}."
        )
    return Columns(text, pair, [], id or known.get("id") or _guess_id(names, source))


def _check_there(names: list[str], source: str, **asked: list[str | None] | list[str]) -> None:
    for part, columns in asked.items():
        for column in columns:
            if column is not None and column not in names:
                raise UserError(f"--{part}_column {column}: {source} has no such column; it has {', '.join(names)}.")


def _find_texts(names: list[str], source: str, text: str | None, text_pair: str | None) -> tuple[str, str | None]:
    if text is not None:
        return text, text_pair
    pairs = [pair for pair in PAIR_NAMES if set(pair) <= set(names)]
    if pairs and not set(TEXT_NAMES) & set(names):
        if len(pairs) == 1 and text_pair is None:
            return pairs[0]
        if len(pairs) > 1:
            found = "; ".join(" and ".join(pair) for pair in pairs)
            raise UserError(
                f"{source}: the texts could be any of the pairs {found}; name them with --text_column and "
                f"--text_pair_column. The columns are {', '.join(names)}."
            )
    return _guess(names, TEXT_NAMES, "text", source), text_pair


def _guess(names: list[str], usual: tuple[str, ...], part: str, source: str) -> str:
    found = [name for name in names if name.lower() in usual]
    if len(found) == 1:
        return found[0]
    problem = f"could be any of {', '.join(found)}" if found else f"has none of the usual names ({', '.join(usual)})"
    raise UserError(
        f"{source}: the {part} column {problem}; name it with --{part}_column. The columns are {', '.join(names)}."
    )


def _guess_id(names: list[str], source: str) -> str | None:
    return _guess(names, ID_NAMES, "id", source) if any(name.lower() in ID_NAMES for name in names) else None
