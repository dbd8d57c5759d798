"""One-letter codes and words, one to one: the façades translate by tables."""

from __future__ import annotations

from collections.abc import Mapping


class Codes:
    """`Codes({"A": "active"})`: `word("A")` and `letter("active")`."""

    __slots__ = ("_letters", "_words")

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = dict(words)
        self._letters = {word: letter for letter, word in words.items()}
        if len(self._letters) != len(self._words):
            raise ValueError("two letters have the same word, so there is no way back")

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(self._words)

    def word(self, letter: str) -> str:
        return self._words[letter]

    def letter(self, word: str) -> str:
        return self._letters[word]
