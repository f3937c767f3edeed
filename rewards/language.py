"""Is the answer in the language of the question? By Unicode scripts and function words, no model.

    Language()(example, completion)   # the share of words in the question's language, 0.0 to 1.0

A language model under reward pressure drifts into another script or mixes languages; that is what
this reward sees. Texts here are often 10 to 50 words full of numbers, where trained detectors
guess; counting scripts is exact, and function words tell the commonest Latin languages apart.
What it leaves out: languages that share a script other than Latin (Russian and Ukrainian, say).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from pydantic.dataclasses import dataclass

from groupwise.rewards.text import MAX_TEXT_CHARS
from groupwise.rewards.types import Completion, Example


def _split(words: str) -> list[str]:
    return words.split()


# ISO 639-1 -> scripts, by the first word of the characters' Unicode names
_LATIN = _split("en de fr es it pt nl sv da no fi pl cs sk hu ro tr vi id ms sw")
SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LATIN, ("LATIN",)),
    **dict.fromkeys(_split("ru uk bg sr be mk kk"), ("CYRILLIC",)),
    **dict.fromkeys(_split("ar fa ur"), ("ARABIC",)),
    **dict.fromkeys(_split("hi mr ne"), ("DEVANAGARI",)),
    "el": ("GREEK",), "he": ("HEBREW",), "th": ("THAI",), "ko": ("HANGUL",),
    "bn": ("BENGALI",), "ta": ("TAMIL",), "te": ("TELUGU",), "ka": ("GEORGIAN",),
    "hy": ("ARMENIAN",), "zh": ("CJK",), "ja": ("CJK", "HIRAGANA", "KATAKANA"),
}  # fmt: skip
# Words that are frequent in one of these languages and rare or absent in the others
_FUNCTION_WORDS = {
    "en": "the of and is to that was with for are this which from have has how many she they then "
    "each so we per there much he his her by answer all on at",
    "de": "der und ist nicht das mit sich für auf dem wie viele sie wir also ein eine einen von zu "
    "insgesamt jeder hat werden kosten dann sind antwort aus er den pro",
    "fr": "le les et est des dans pour une qui sur avec donc combien elle nous il sont chaque du "
    "alors réponse coûte ont au par ce cette total",
    "es": "el los y es las del por una que con para cuántos ella entonces cada son respuesta "
    "cuesta tiene hay su se cuánto lo al",
    "it": "il gli e è che per una con della sono quindi quanti lei ogni risposta costa ha di del "
    "nel alla allora",
    "pt": "o os e é que uma com para não quantos ela então cada são resposta custa tem em do da "
    "por ao",
    "nl": "de het een van en is dat niet met voor hoeveel zij dus elke zijn antwoord kost heeft "
    "wordt dan per op hij",
}
# A word that two lists share says nothing
_ALL = Counter(word for words in _FUNCTION_WORDS.values() for word in set(words.split()))
_LANGUAGE_OF = {
    word: language
    for language, words in _FUNCTION_WORDS.items()
    for word in words.split()
    if _ALL[word] == 1
}
_NOT_PROSE = re.compile(
    # Bounded: a hundred thousand unclosed `\[` must not take quadratic time
    r"```[^`]*```|`[^`\n]*`|\$\$[^$]*\$\$|\$[^$\n]*\$|\\\[[^]]{0,500}\\\]|\\\([^)]{0,500}\\\)"
    r"|\\[A-Za-z]{1,30}|</?[A-Za-z_]{1,30}>|https?://\S+"
)
_WORD = re.compile(r"[^\W\d_]+")
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI")
MIN_EVIDENCE = 3
"""Fewer function words than these tell nothing about the language of a text."""


@lru_cache(maxsize=8192)
def script_of(char: str) -> str:
    """The script of a letter: LATIN, CYRILLIC, CJK, …"""
    name = unicodedata.name(char, "UNKNOWN").split()[0]
    return {"FULLWIDTH": "LATIN", "HALFWIDTH": "KATAKANA"}.get(name, name)


def _prose(text: str) -> str:
    """The text without code, formulas, tags and links, but with their non-ASCII letters.

    Otherwise text in another script could be hidden in a formula or a code block.
    """

    def kept(match: re.Match[str]) -> str:
        span = match.group()
        return " " if span.isascii() else " " + re.sub(r"[\x00-\x7f]+", " ", span) + " "

    return _NOT_PROSE.sub(kept, text)


def script_counts(text: str) -> Counter[str]:
    """How many words of prose a text has in each script; two CJK characters count as a word."""
    counts: Counter[str] = Counter()
    for word in _WORD.findall(_prose(text[:MAX_TEXT_CHARS])):
        if word.isascii():
            if len(word) > 1 or word in "aI":  # single letters are variables
                counts["LATIN"] += 1
            continue
        inside = Counter(script_of(char) for char in word)
        for script, letters in inside.items():
            if script in _NO_SPACES:
                counts[script] += (letters + 1) // 2
            elif letters > 1 or script not in ("GREEK", "LATIN"):  # π and θ are notation
                counts[script] += 1
    return counts


def language_counts(text: str) -> Counter[str]:
    """How many function words of each language a text has."""
    words = _WORD.findall(_prose(text[:MAX_TEXT_CHARS]).lower())
    return Counter(_LANGUAGE_OF[word] for word in words if word in _LANGUAGE_OF)


@dataclass(frozen=True, config={"extra": "forbid"})
class Language:
    """The share of the text's words in the language of the question, 0.0 to 1.0.

    `language` (ISO 639-1) replaces the question's. Code, formulas, tags, numbers and single letters
    do not count. A text without any words is no violation and gets 1.0; an empty text gets 0.0. In
    Latin script the languages en, de, fr, es, it, pt and nl are distinguished.
    """

    language: str = "auto"

    def __post_init__(self) -> None:
        if self.language != "auto" and self.language not in SCRIPTS:
            known = ", ".join(sorted(SCRIPTS))
            raise ValueError(f"language {self.language!r} is not known; known: auto, {known}")

    def __call__(self, example: Example, completion: Completion) -> float:
        if not completion.text.strip():
            return 0.0
        counts = script_counts(completion.text)
        total = sum(counts.values())
        if total == 0:
            return 1.0
        language, scripts = self._expected(example.question)
        if not scripts:  # the question has no words: the text should at least be of one script
            return max(counts.values()) / total
        share = sum(counts[script] for script in scripts) / total
        if language in _FUNCTION_WORDS and (words := language_counts(completion.text)):
            evidence = sum(words.values())
            if evidence >= MIN_EVIDENCE:
                share *= words[language] / evidence
        return share

    def _expected(self, question: str) -> tuple[str, tuple[str, ...]]:
        """(language or "", its scripts)."""
        if self.language != "auto":
            return self.language, SCRIPTS[self.language]
        return _language_of(question)


@lru_cache(maxsize=4096)
def _language_of(question: str) -> tuple[str, tuple[str, ...]]:
    counts = script_counts(question)
    if not counts:
        return "", ()
    script = counts.most_common(1)[0][0]
    if script in ("HIRAGANA", "KATAKANA") or (script == "CJK" and counts["HIRAGANA"]):
        return "ja", SCRIPTS["ja"]
    if script == "LATIN":
        best = language_counts(question).most_common(1)
        return (best[0][0] if best and best[0][1] >= MIN_EVIDENCE else ""), ("LATIN",)
    return "", (script,)
