"""Names of expressions in files: the words that mean the same, in any case and with any separators."""

import re
import unicodedata

# One line per expression; a word stands in one line only.
SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(line.split())
    for line in (
        "neutral neutrality ne neu calm normal noemotion",
        "happy happiness joy joyful hap ha happ smile",
        "sad sadness sa",
        "surprise surprised su sur surp suprise",
        "fear fearful afraid scared fea af",
        "disgust disgusted dis di",
        "anger angry ang an",
        "contempt contemptuous con contemp",
        "other others",
    )
)
_OF_WORD = {word: group for group in SYNONYMS for word in group}


def normalized(word: str) -> str:
    """A name in lower case without blanks and separators: `Happily Surprised` and `happily_surprised` agree."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", word).casefold())


def synonyms(word: str) -> frozenset[str]:
    """The usual words for the same expression, the word itself included.

    Args:
        word: normalized.
    """
    return _OF_WORD.get(word, frozenset({word}))
