"""A document of a corpus, and how bytes become one."""

import codecs
import re
from dataclasses import dataclass

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A named text. Its lines end in `\\n` alone and it starts with no byte-order mark."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str, text: str) -> "Document":
        """A document of any text: line ends become `\\n`, what UTF-8 cannot write (lone surrogates) becomes U+FFFD."""
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        return cls(name, _SURROGATES.sub("\ufffd", text))

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but white space."""
        return not self.text.strip()


@dataclass(frozen=True)
class Documents:
    """What was read: the documents in a fixed order, their language, and the files that were left out.

    Attributes:
        language: `python` or `text`: which labels the documents get.
        n_files: how many files were looked at.
        left_out: the names of files that are no text, or no Python where all are Python.
    """

    documents: list[Document]
    language: str
    n_files: int
    left_out: list[str]


def decode(data: bytes, name: str, encoding: str = "utf-8") -> str:
    """The text of a file's bytes, UTF-16 where a byte-order mark says so; `ValueError` if they are no text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data:
        raise ValueError(f"{name} is binary (it holds NUL bytes): a corpus is made of text files.")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in {encoding.upper()}: a corpus is made of UTF-8 text files.") from None
