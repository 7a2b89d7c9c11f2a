"""How a text file is written, and what makes text of its bytes: compression, encoding, line ends."""

import codecs
import errno
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from charset_normalizer import CharsetMatch, from_bytes

from bert_recipes.errors import UserError, in_one_line, some

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as the mark of UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What is tried where an encoding does not fit. Not latin-1, which reads any bytes whatever.
USUAL_ENCODINGS = (
    *("utf-8", "cp949", "euc_jp", "shift_jis", "cp932", "gb18030", "big5"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256"),
)
# Python's own ways of writing text down, in which bytes may say half a surrogate pair; no file of rows is in them.
NO_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"}
# Characters beyond ASCII that a file of UTF-8 must have to be believed over what was said: one or two letters in a
# Korean or Japanese encoding may happen to be UTF-8 too.
CONVINCING = 3
COMPRESSED = (".gz", ".zip")
# Short texts with arrows, dots and dashes look like chaos to charset-normalizer, which gives up at 0.2 of it.
CHAOS = 1.0
CHUNK = 1 << 20  # bytes
ONE_BYTE = "cp125"  # what the names of those begin with, of the usual encodings, that have a byte for each letter
SAMPLE = 1 << 15  # bytes around the first that cannot be decoded, from which an encoding is told


# Some of them mean something to a shell or to make: they have names too.
NAMED_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "\\t": "\t"}


@dataclass(frozen=True)
class TextFormat:
    """How the cells of text files are written, where that is not plain from the file.

    Attributes:
        encoding: of a file that is not UTF-8 and has no byte order mark.
        delimiter: between cells; None for the one that the file's name tells.
        quoting: `double` or `backslash` by how a quotation mark within quotes is written, or `none` where such a mark
            is a character as any other; None for `double`, or `backslash` in a file that only this reads.
        header: whether the first row holds the names of the columns, which otherwise are their numbers from 0.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: str | None = None
    header: bool = True

    def __post_init__(self) -> None:
        text_decoder(self.encoding)
        if self.delimiter in NAMED_DELIMITERS:
            object.__setattr__(self, "delimiter", NAMED_DELIMITERS[self.delimiter])
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n\\'):
            names = ", ".join(name for name in NAMED_DELIMITERS if name.isalpha())
            raise UserError(f"--delimiter {self.delimiter!r} cannot part cells: give one character, or {names}.")

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> "TextFormat":
        """Return what a configuration says by the names of the flags; what it lacks or holds as None is left open.

        Raises:
            UserError: there is no such encoding, or the delimiter is no character.
        """
        return cls(
            encoding="utf-8" if configuration.get("encoding") is None else configuration["encoding"],
            delimiter=configuration.get("delimiter"),
            quoting=configuration.get("quoting"),
            header=not configuration.get("no_header"),
        )


def text_decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Return what makes text of bytes.

    Raises:
        UserError: there is no encoding of that name, or it is none of text.
    """
    try:
        "".encode(encoding)  # not of rot13 or base64
        if codecs.lookup(encoding).name in NO_ENCODINGS:
            raise LookupError
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError) as error:
        raise UserError(f"there is no encoding '{encoding}': try --encoding cp949, cp1252 or utf-16.") from error


def is_wide(encoding: str) -> bool:
    """Whether an encoding has two or four bytes for each character, NUL bytes among them."""
    return "16" in encoding or "32" in encoding


def kind_of(path: PurePath) -> str:
    """Return the suffix that tells what a file holds, in lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be compressed by gzip, or be the only one in a zip archive.

    Raises:
        UserError: now or within the context: the archive is damaged, or holds several files.
    """
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(path, archive)) as member:
                yield member
        else:
            with path.open("rb") as file:
                yield file
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be unpacked: {in_one_line(error)}: get it again, or unpack it.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of an archive whose table points before its beginning
            raise
        raise UserError(f"{path} cannot be unpacked: it is damaged: get it again.") from error
    except RuntimeError as error:  # zipfile's, of an archive with a password
        raise UserError(f"{path} cannot be unpacked: {in_one_line(error)}: unpack it.") from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    # macOS puts files of its own beside those that were packed.
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        found = f"{len(members)} files ({some([m.filename for m in members])})" if members else "no file"
        raise UserError(f"{path} holds {found}: unpack it and give the file or the folder.")
    return members[0]


@contextmanager
def open_text(path: Path, encoding: str, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a text file that may be compressed, as `open` does.

    Args:
        path: of the file.
        encoding: as `encoding_of` returns it.
        newline: as `open` takes it.
    """
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding=encoding, newline=newline) as text:
        yield text


def encoding_of(path: Path, asked: str) -> str:
    """Read a text file once and return its encoding.

    It is the one of its byte order mark, or else UTF-8 where that fits and is convincing, or else the one asked for:
    text in another encoding is hardly ever UTF-8 by chance.

    Raises:
        UserError: the one asked for does not fit; the sentence names those that do. Or the file has NUL bytes.
    """
    with open_bytes(path) as file:
        start = file.read(4)
    marked = [encoding for mark, encoding in BYTE_ORDER_MARKS.items() if start.startswith(mark)]
    unmarked = "utf-8" if _beyond_ascii(path) >= CONVINCING else asked
    encoding = marked[0] if marked else unmarked
    problem = _undecodable(path, encoding)
    if problem is None:
        return encoding
    place, reason = problem
    raise UserError(f"{path} is not {encoding}: {reason}; {_proposal(path, place)}.")


def _beyond_ascii(path: Path) -> int:
    """Return how many characters beyond ASCII a file of UTF-8 begins with, up to what convinces; 0 if it is none."""
    found = 0
    for text, _ in _decoded(path, "utf-8"):
        if text is None:
            return 0
        found = found if found >= CONVINCING else found + sum(character > "\x7f" for character in text)
    return found


def _decoded(path: Path, encoding: str) -> Iterator[tuple[str | None, Any]]:
    """Yield the text of a file in pieces, each with the bytes it came from; at last None and the error, if any."""
    decoder = text_decoder(encoding)
    offset = 0
    with open_bytes(path) as file:
        while chunk := file.read(CHUNK):
            pending = len(decoder.getstate()[0])
            try:
                yield decoder.decode(chunk), (offset, chunk)
            except UnicodeDecodeError as error:
                place = offset - pending + error.start
                yield None, (place, f"byte {place} cannot be decoded")
                return
            except UnicodeError as error:  # of UTF-16 without the mark at its beginning
                yield None, (offset, in_one_line(error))
                return
            offset += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeError:
        yield None, (max(0, offset - 1), f"it ends within a character, at byte {offset}")


def _undecodable(path: Path, encoding: str) -> tuple[int, str] | None:
    """Return the first byte that is no text of that encoding, and what is wrong there, or None."""
    wide = is_wide(encoding)
    for text, about in _decoded(path, encoding):
        if text is None:
            return about
        nul = -1 if wide else about[1].find(b"\0")
        if nul >= 0:
            return about[0] + nul, f"it has a NUL byte at byte {about[0] + nul}"
    return None


def _proposal(path: Path, place: int) -> str:
    """Return, for a sentence, the encodings that a file is likely to be of."""
    with open_bytes(path) as file:
        begin = max(0, place - SAMPLE)
        file.read(begin)
        sample = file.read(2 * SAMPLE)
    if b"\0" in sample:
        for encoding, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
            if begin == 0 and high.count(0) > len(high) / 2 and _undecodable(path, encoding) is None:
                return f"as {encoding} it can be read: give --encoding {encoding}"
        return "it is damaged or no text file"
    # Whole lines, so that no character is cut.
    sample = sample[sample.find(b"\n") + 1 if begin else 0 : (sample.rfind(b"\n") + 1) or None]
    matches = [*from_bytes(sample, cp_isolation=list(USUAL_ENCODINGS), threshold=CHAOS)]
    if matches and _usual(matches[0]).startswith(ONE_BYTE):
        # charset-normalizer has no order for these: French in cp1252 has the letters of Czech in cp1250.
        matches.sort(key=_by_letters)
    fits = [name for name in dict.fromkeys(map(_usual, matches)) if _undecodable(path, name) is None]
    if not fits:
        return "none of the usual encodings fits either: it is damaged or no text file"
    advice = f"it is likely {fits[0]}: give --encoding {fits[0]}"
    if not fits[1:]:
        return advice
    words = (word for word in re.findall(rb"[^\s\"',;]+", sample) if not word.isascii())
    spelt = ([word.decode(name, "replace") for name in fits[:3]] for word in words)
    # One of which a reader of the language can tell.
    first, *others = next((word for word in spelt if word[0] != word[1]), [""] * len(fits[:3]))
    if not first:
        return advice
    also = " or ".join(f"{name}, “{word}”" for name, word in zip(fits[1:3], others, strict=True))
    return f"{advice} if a word of it is “{first}” (it could also be {also})"


def _usual(match: CharsetMatch) -> str:
    """Return the most usual of the encodings that read a sample alike."""
    return min([match.encoding, *match.could_be_from_charset], key=_rank)


def _by_letters(match: CharsetMatch) -> tuple[bool, float, int, float, int]:
    """Return what sorts encodings of one byte first, and of those that are chaos alike the one with fewer signs."""
    signs = sum(not character.isascii() and not character.isalpha() for character in str(match))
    name = _usual(match)
    return not name.startswith(ONE_BYTE), round(match.chaos, 2), signs, -match.coherence, _rank(name)


def _rank(name: str) -> int:
    usual = [codecs.lookup(encoding).name for encoding in USUAL_ENCODINGS]
    found = codecs.lookup(name).name
    return usual.index(found) if found in usual else len(usual)


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a text file, without their ends.

    Args:
        path: of the file.
        encoding: of one that is not UTF-8.

    Raises:
        UserError: it is not text of that encoding.
    """
    found = encoding_of(path, encoding)
    with open_text(path, found) as lines:
        for line in lines:
            yield line.rstrip("\r\n")
