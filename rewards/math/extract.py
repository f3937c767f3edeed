"""The final answer of a text: `<answer>`, `\\boxed{}`, `####`, "the answer is", or a guess.

    find_answer("so 6 * 7 = 42.\\n#### 42")   # Extraction(text="42", found_by="hash", start=15)

Every rule is a scan from the end that looks at each character a bounded number of times; nothing
here can be made to backtrack. Within a rule the last occurrence counts, and a last one that is
malformed credits no earlier one. The rules for answers that nothing marks are in `unmarked`. What
it leaves out: judging whether the answer is right (see `grade`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from groupwise.rewards.math.latex import closes_at_end
from groupwise.rewards.math.unmarked import (
    FORMULA_MARKS,
    GUESSES,
    MAX_ANSWER_CHARS,
    Extraction,
)
from groupwise.rewards.text import MAX_TEXT_CHARS, strip_invisible

RULES: tuple[str, ...] = (
    "answer_tag",
    "boxed",
    "hash",
    "phrase",
    "bold",
    "whole",
    "last_math",
    "last_number",
)
"""All rules in descending priority; of `boxed` and `hash` the later in the text counts.

- `answer_tag`: inside the last `<answer>…</answer>`;
- `boxed`: inside the last `\\boxed{…}` or `\\fbox{…}`, braces nested;
- `hash`: the rest of the line after the last `####` (GSM8K), unless that is a heading;
- `phrase`: after the last "answer is", "answer:", "final answer =";
- `bold`: a number in bold on the last line, with its unit;
- `whole`: the text itself, where it is short and reads as one bare answer;
- `last_math`: the last `$…$`, `\\(…\\)` or `\\[…\\]`; for a number, if it holds the last one;
- `last_number`: the last number in the text.
"""

_AFTER_ANSWER = re.compile(
    r"s?[\s*_}]*(?:to (?:the|this) (?:question|problem))?[\s*_}]*"
    r"(?:is(?![a-z])|are(?![a-z])|was|would be|will be|should be|must be|equals|[:=：])"
    r"[\s*_:}]*(?:therefore|thus|simply|just|exactly)?[\s*_:]*",
    re.IGNORECASE,
)
# `5!` ends a sentence where a new one or nothing follows; in `5! = 120` it is a factorial
_SENTENCE_END = re.compile(r"[.?](?=\s|$)|(?<=\d)!+(?=\s*$|\s*\n|\s+[A-Z])|\n")
_END_MARK = re.compile(r"(?:<\|[A-Za-z_]{1,20}\|>|</s>|<eos>|<end_of_turn>)\Z")
_ANOTHER = re.compile(
    r"\s*(?:[,;/]\s*|\(?(?:or|and|but|maybe|perhaps|possibly)\b\s*)+(?:\$|\\\(|-?\d)"
)
_BOXES_JOINED = re.compile(
    r"\}\s*(?:\$|\\\))?\s*(?:,|,?\s*(?:\b(?:or|and)\b|\\text ?\{ ?(?:or|and) ?\}))"
    r"\s*(?:\$|\\\()?\s*$"
)
_HEADING = re.compile(
    r"(?:(?:step|part) \d{1,2}\b.*|\d{1,2}\. ?[A-Z][a-z].*|(?:final )?answer:?|.*:)", re.IGNORECASE
)


def find_answer(
    text: str, rules: Sequence[str] = RULES, *, closed: bool = True, numeric: bool = True
) -> Extraction | None:
    """The final answer in a text; None if no rule finds one.

    Looks only behind the last `</think>`; where a `<think>` was never closed, the rules that guess
    (`bold`, `whole`, `last_math`, `last_number`) do not run: an unfinished thought is no answer.
    `closed=False` says that the text was cut off at a token limit, so that an unclosed last box
    holds no complete answer. `numeric=False` says that the reference is no number; then a formula
    is a better guess than the last number.
    """
    offset = 0
    if len(text) > MAX_TEXT_CHARS:
        offset = len(text) - MAX_TEXT_CHARS
        text = text[offset:]
    if not text.isascii():
        text = strip_invisible(text)
    for _ in range(4) if text.rstrip().endswith(">") else ():
        text = text.rstrip()
        text = text[:-40] + _END_MARK.sub("", text[-40:])
    answer_from = text.rfind("</think>")
    thinking = text.rfind("<think>") > answer_from
    if answer_from >= 0:
        start = answer_from + len("</think>")
        text, offset = text[start:], offset + start

    found: Extraction | None = None
    if "answer_tag" in rules and "<answer>" in text:
        found = _answer_tag(text)
        return _shift(found, offset)
    last = _boxed(text, closed) if "boxed" in rules else None
    if "hash" in rules and (found := _hash(text, numeric)) is not None:
        last = found if last is None or found.start > last.start else last
    if last is not None:
        return _shift(last if last.text else None, offset)
    if "phrase" in rules and (found := _phrase(text)) is not None:
        return _shift(found, offset)
    if thinking:
        return None
    guesses = ("bold", "whole", "last_math") if numeric else ("whole", "last_math", "bold")
    for rule in (*guesses, "last_number"):
        if rule in rules and (found := GUESSES[rule](text, numeric)) is not None:
            return _shift(found, offset)
    return None


def _shift(found: Extraction | None, offset: int) -> Extraction | None:
    if found is None or not offset:
        return found
    return Extraction(found.text, found.found_by, found.start + offset)


def _answer_tag(text: str) -> Extraction | None:
    start = text.rfind("<answer>") + len("<answer>")
    end = text.find("</answer>", start)
    if end < 0:
        return None
    content = text[start:end].strip()[:MAX_ANSWER_CHARS]
    if "\\boxed" in content and (inner := _boxed(content, True)) is not None:
        content = inner.text
    return Extraction(content, "answer_tag", start) if content else None


def _boxed(text: str, closed: bool) -> Extraction | None:
    """The last box. Its text is empty if it is malformed, so that no earlier box is credited."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at < 0:
        return None
    start = at + (6 if text.startswith("\\boxed", at) else 5)
    while start < len(text) and text[start] == " ":
        start += 1
    if start >= len(text):
        return Extraction("", "boxed", at)
    if text[start] != "{":  # \boxed 12
        end = start
        while end < len(text) and end - start < 64 and text[end] not in " \n\t$":
            end += 1
        return Extraction(text[start:end].rstrip(".,;"), "boxed", at)
    start += 1
    end = text.find("}", start, start + 40)
    if end > 0 and "{" not in (simple := text[start:end]) and "\\" not in simple:
        return _with_boxes_before(text, Extraction(simple.strip(), "boxed", at))
    depth = 1
    for index in range(start, min(len(text), start + MAX_ANSWER_CHARS)):
        char = text[index]
        if char == "\\":
            continue
        if text[index - 1] == "\\" and char in "{}":  # \{ and \} are set braces
            continue
        depth += (char == "{") - (char == "}")
        if depth == 0:
            content = text[start:index].strip()
            if "\\boxed" in content:  # a box in a box: `rfind` found the inner one already
                content = ""
            return _with_boxes_before(text, Extraction(content, "boxed", at))
    # Unclosed. What stands on the rest of the line is the answer if the model stopped there of its
    # own accord; after a cut-off it may be half an answer.
    line = text[start:].split("\n", 1)[0].strip().rstrip("$.").strip()
    whole = closed and depth == 1 and len(line) < 100 and start + len(line) + 8 > len(text.rstrip())
    return Extraction(line if whole and not line.endswith("\\") else "", "boxed", at)


def _with_boxes_before(text: str, last: Extraction) -> Extraction:
    """The last box, with those that a comma, "or" and "and" join to it: they are one list."""
    for _ in range(8):
        between = _BOXES_JOINED.search(text, max(0, last.start - 40), last.start)
        if between is None or not last.text:
            break
        start = text.rfind("\\boxed{", max(0, between.start() - MAX_ANSWER_CHARS), last.start)
        content = text[start + len("\\boxed{") : between.start()].strip()
        if start < 0 or not closes_at_end(content):
            break
        both = content if content == last.text else f"{content} , {last.text}"
        last = Extraction(both, "boxed", start)
    return last


def _hash(text: str, numeric: bool) -> Extraction | None:
    at = text.rfind("####")
    if at < 0:
        return None
    start = at + 4
    rest = text[start : start + MAX_ANSWER_CHARS].lstrip("# \t\n")
    line, _, below = rest.partition("\n")
    line = line.strip().strip("*").strip()
    # `#### Step 3` is a heading of Markdown; what stands below it states the answer
    plain = numeric and below.strip() and not any(char.isdecimal() for char in line)
    return None if plain or _HEADING.fullmatch(line) else Extraction(line, "hash", at)


def _phrase(text: str) -> Extraction | None:
    lowered = text.lower() if text.isascii() else _lower_same_length(text)
    at = len(lowered)
    for _ in range(20):  # mentions of "answer" that state none: bounded, from the end
        at = lowered.rfind("answer", 0, at)
        if at < 0:
            return None
        after = _AFTER_ANSWER.match(text, at + len("answer"), at + 200)
        if after is None:
            continue
        start = after.end()
        rest = text[start : start + MAX_ANSWER_CHARS]
        if "\\boxed" in rest[:20]:
            return None
        content = _first_sentence(rest)
        if content:
            return Extraction(content, "phrase", start)
    return None


def _first_sentence(rest: str) -> str:
    """Up to the end of the sentence or line; a formula in `$…$` is taken whole."""
    for opening, closing in FORMULA_MARKS if rest[:1] in "$\\" else ():
        if rest.startswith(opening):
            end = _find_unescaped(rest, closing, len(opening))
            line = rest.find("\n", len(opening) + 1)
            # `$5 and $6`: what follows a currency sign is no formula
            several = end > 0 and _ANOTHER.match(rest, end + len(closing)) is not None
            if end > 0 and not several and (line < 0 or end < line or opening != "$"):
                inner = rest[len(opening) : end]
                if opening != "$" or not re.search(r"\d [a-z]{2}", inner):
                    tail = rest[end + len(closing) :]
                    unit = re.match(r"\s?(?:\\?%|[a-z]{1,12}\b)?", tail)
                    return inner.strip() + (unit.group() if unit and "%" in unit.group() else "")
            break
    end_match = _SENTENCE_END.search(rest)
    sentence = rest[: end_match.start()] if end_match else rest
    if "\\)" in sentence:  # \(1\) and \(2\)
        sentence = sentence.replace("\\(", " ").replace("\\)", " ")
    return _without_dangling(sentence.strip().strip("*_").strip())


def _without_dangling(content: str) -> str:
    """Without the end of a formula that began before the phrase: `$\\text{Answer: }5$`."""
    for opening, closing in FORMULA_MARKS:
        body = content.removesuffix(closing)
        if body != content and opening not in body:
            content = body.rstrip()
            break
    if content.endswith("}") and content.count("}") > content.count("{"):
        content = content[:-1].rstrip()
    return content


def _find_unescaped(text: str, mark: str, start: int) -> int:
    at = text.find(mark, start)
    while at > 0 and text[at - 1] == "\\" and mark[0] == "$":
        at = text.find(mark, at + 1)
    return at


def _lower_same_length(text: str) -> str:
    # "İ".lower() is two characters long; positions must stay those of the text
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
