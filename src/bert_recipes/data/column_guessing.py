"""Which column of a file is the text, the second text, the label and the id: by its name, unless that is said."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_recipes.columns import JOINT
from bert_recipes.errors import UserError, some
from bert_recipes.terminal import say_beside_data

# However many files lack the column.
_say_once = functools.cache(say_beside_data)
# In two tiers: a name of the second is looked for only where there is none of the first.
TEXT_NAMES = (
    ("text", "sentence", "review", "tweet", "comment", "content", "message", "document"),
    (
        *("comment_text", "full_text", "excerpt", "title", "phrase", "body", "headline", "description"),
        *("question_text", "abstract", "utterance", "query", "post", "sms", "essay", "review_text", "review_body"),
        *("tweet_text", "article", "question", "passage", "paragraph", "discourse_text"),
        *("문장", "텍스트", "내용", "본문", "리뷰", "댓글", "발화", "질문", "제목"),
    ),
)
PAIR_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"))
LABEL_NAMES = (
    ("label", "labels", "target", "class", "category"),
    (
        *("sentiment", "topic", "topic_idx", "author", "intent", "stars", "rating", "emotion", "polarity"),
        *("score", "genre", "class_index", "class index"),
        *("라벨", "레이블", "분류", "감정", "감성", "주제", "정답"),
    ),
)
ID_NAMES = (
    ("id", "idx", "guid", "uid"),
    (
        *("index", "text_id", "phraseid", "tweet_id", "row_id", "review_id", "document_id", "qid", "comment_id"),
        *("sentence_id", "post_id", "message_id", "article_id", "doc_id", "essay_id", "discourse_id", "sample_id"),
        *("textid", "tweetid", "rowid", "reviewid", "documentid", "아이디", "번호"),
    ),
)
# In a sentence; of a table with hundreds of columns the first ones.
MOST_NAMES = 20


@dataclass
class Columns:
    """Which column of the data plays which part.

    Attributes:
        text: of the text; the texts of several are joined.
        text_pair: of the second text of a pair.
        label: one column, or one for each label or target.
        id: of the id. Other splits than test may lack it, and have their rows' numbers for ids.
    """

    text: list[str]
    text_pair: str | None
    label: list[str]
    id: str | None

    @property
    def used(self) -> set[str]:
        """The names of all of them."""
        return {name for name in (*self.text, self.text_pair, *self.label, self.id) if name is not None}


def listed(names: Sequence[str]) -> str:
    """Return the names of columns for a sentence."""
    return some(names, most=MOST_NAMES)


def joined(parts: Sequence[str | None]) -> str:
    """Return the text of a row, given its cells in the columns of the text: those that are not empty, joined."""
    if len(parts) == 1:
        return parts[0] or ""
    return JOINT.join(part for part in parts if part and not part.isspace())


def find_columns(
    names: list[str],
    source: str,
    *,
    text: list[str] | None = None,
    text_pair: str | None = None,
    label: list[str] | None = None,
    id: str | None = None,
    tells_rows_apart: Callable[[str], bool] = lambda name: True,
) -> Columns:
    """Return the columns of labelled data.

    Args:
        names: of all its columns.
        source: what a sentence calls the data.
        text: as `--text_column` says; likewise the others. What is None is guessed.
        text_pair: of the second text.
        label: one column, or one for each label or target.
        id: of the id, which may be a column of the rows to predict alone; None, where there is none of a usual name.
        tells_rows_apart: whether every row has another cell in a column. Of the less usual names of ids only those
            that do are taken.

    Raises:
        UserError: there is no such column, none or several could be meant, or one would play two parts.
    """
    _check_there(names, source, text=text or [], text_pair=[text_pair], label=label or [])
    text, text_pair = _find_texts(names, source, text, text_pair)
    label = label or [_guess(names, LABEL_NAMES, "label", source)]
    taken = {*text, text_pair, *label}
    id = id or _guess_id(names, source, lambda name: name not in taken and tells_rows_apart(name))
    found = Columns(text, text_pair, label, id)
    chosen = [c for c in (*found.text, found.text_pair, *found.label, found.id) if c is not None]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"one column cannot play two parts: text, pair, label and id are {listed(chosen)}.")
    return found


def find_input_columns(
    names: list[str],
    source: str,
    *,
    text: str | list[str] | None = None,
    text_pair: str | None = None,
    id: str | None = None,
    trained: Mapping[str, Any] | None = None,
) -> Columns:
    """Return the columns of rows to predict.

    Args:
        names: of all columns.
        source: what a sentence calls the rows.
        text: as `--text_column` says, one or several; likewise the others.
        text_pair: of the second text.
        id: of the id.
        trained: what the model was trained on, by part; taken where the rows have such a column, before a guess.

    Raises:
        UserError: as `find_columns`; or the model was trained on pairs, or on texts of several columns, and the rows
            have but one of them.
    """
    trained = trained or {}
    text, trained_text = _several(text), _several(trained.get("text"))
    _check_there(names, source, text=text, text_pair=[text_pair], id=[id])
    there = [name for name in trained_text if name in names]
    if not text and there and len(there) < len(trained_text):
        raise UserError(
            f"{source}: the model was trained on {' and '.join(trained_text)} joined, and of these it has "
            f"{' and '.join(there)} alone: name the text with --text_column."
        )
    known = {part: trained[part] for part in ("text_pair", "id") if trained.get(part) in names}
    is_guessed = bool(trained_text) and not text and not there
    text, pair = _find_texts(names, source, text or there or None, text_pair or known.get("text_pair"))
    if pair is None and trained.get("text_pair"):
        raise UserError(
            f"{source}: the model was trained on pairs: name the second text with --text_pair_column; it has "
            f"{listed(names)}."
        )
    if is_guessed:
        _say_once(
            f"{source} has no column {' and no '.join(trained_text)}, which the model was trained on: "
            f"{' and '.join(text)} is read for it; --text_column names another."
        )
    # A model that was trained without a column of ids knows of none, whatever a less usual name may stand for.
    guessed = _guess_id(names, source, lambda name: not trained_text and name not in (*text, pair))
    return Columns(text, pair, [], id or known.get("id") or guessed)


def _several(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _check_there(names: list[str], source: str, **asked: Sequence[str | None]) -> None:
    for part, columns in asked.items():
        for column in columns:
            if column is not None and column not in names:
                raise UserError(f"--{part}_column {column}: {source} has no such column; it has {listed(names)}.")


def _find_texts(
    names: list[str], source: str, text: list[str] | None, text_pair: str | None
) -> tuple[list[str], str | None]:
    if text is not None:
        return text, text_pair
    spelled = {name.lower(): name for name in names}
    pairs = [(spelled[a], spelled[b]) for a, b in PAIR_NAMES if {a, b} <= spelled.keys()]
    if pairs and not _of_these(names, TEXT_NAMES[0]):
        if len(pairs) == 1 and text_pair is None:
            return [pairs[0][0]], pairs[0][1]
        if len(pairs) > 1:
            found = "; ".join(" and ".join(pair) for pair in pairs)
            raise UserError(
                f"{source}: the texts could be any of the pairs {found}; name them with --text_column and "
                f"--text_pair_column. The columns are {listed(names)}."
            )
    return [_guess([name for name in names if name != text_pair], TEXT_NAMES, "text", source)], text_pair


def _guess(names: list[str], tiers: tuple[tuple[str, ...], ...], part: str, source: str) -> str:
    found = next((found for usual in tiers if (found := _of_these(names, usual))), [])
    if len(found) == 1:
        return found[0]
    if found:
        problem = f"could be any of {', '.join(found)}"
        joint = f", or join them with --text_column {' '.join(found)}" if part == "text" else ""
    else:
        problem, joint = f"has none of the usual names ({some(tiers[0] + tiers[1], most=len(tiers[0]))})", ""
    raise UserError(
        f"{source}: the {part} column {problem}; name it with --{part}_column{joint}. The columns are {listed(names)}."
    )


def _of_these(names: list[str], usual: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.lower() in usual]


def _guess_id(names: list[str], source: str, tells_rows_apart: Callable[[str], bool]) -> str | None:
    if _of_these(names, ID_NAMES[0]):
        return _guess(names, ID_NAMES, "id", source)
    return next((name for name in _of_these(names, ID_NAMES[1]) if tells_rows_apart(name)), None)
