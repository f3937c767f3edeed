"""The final answer out of a text: `<answer>`, `\\boxed{}`, `####`, "the answer is", last number.

Every rule is a scan from the end that looks at each character a bounded number of times; nothing
here can be made to backtrack. What it leaves out: judging whether the answer is right (see
`correctness`), and any second chance. Within a rule the last occurrence counts, and a last one that
is malformed credits no earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rewards.latex import FRACTIONS, POWERS, closes_at_end
from rewards.text import MAX_TEXT_CHARS, strip_invisible

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
"""All rules, by falling priority; `boxed` and `hash` share one rank: the later in the text counts.

- `answer_tag`: inside the last `<answer>…</answer>`;
- `boxed`: inside the last `\\boxed{…}` or `\\fbox{…}`, braces nested;
- `hash`: the rest of the line after the last `####` (GSM8K), unless that is a heading;
- `phrase`: after the last "answer is", "answer:", "final answer =";
- `bold`: a number in bold on the last line, with its unit;
- `whole`: the text itself, where it is short and reads as one bare answer;
- `last_math`: the last `$…$`, `\\(…\\)` or `\\[…\\]`; for a number, if it holds the last one;
- `last_number`: the last number in the text.
"""

MAX_ANSWER_CHARS = 2_000
"""What stands between the marks of an answer is cut here; no reference is anywhere near as long."""

# One number: sign, currency, thousands separators, decimals, a plain fraction, an exponent.
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?(?:\\?[$€£¥₹]\s?)?[-+−]?"
    r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,4}(?!\w))?(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?"
)
_MINUS = re.compile(r"\b(?:negative|(?:is|was|be|of) minus) $", re.IGNORECASE)
_WHOLE_BEFORE = re.compile(r"(?<![\w.,/])\d{1,6} $")
SCALE = re.compile(r" (?:hundred|thousand|million|billion)\b")
_NUMBER_OR_NUMBER = re.compile(r"\d[^\n.]{0,12}?\b(?:or|OR|Or)\b\W{0,6}$")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|cannot)|n['’]t)\s+(?:be\s+|equal\s+(?:to\s+)?)?[\W_]{0,6}$", re.IGNORECASE
)
_NEGATED_AFTER = re.compile(r"[\W_]{0,6}\s(?:is|was|can)(?:\s?not\b|n['’]t\b)", re.IGNORECASE)
_IS_THE_ANSWER = re.compile(r"\b(?:is|was) (?:the|my|our)\b")
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
_JOINED = re.compile(
    r"(\$|\\\))\s*(?:,\s*)?(?:\b(or|and)\b(?: (?:else|maybe|perhaps|possibly))?|,)\s*$"
)
_BOXES_JOINED = re.compile(
    r"\}\s*(?:\$|\\\))?\s*(?:,|,?\s*(?:\b(?:or|and)\b|\\text ?\{ ?(?:or|and) ?\}))"
    r"\s*(?:\$|\\\()?\s*$"
)
_FORMULA_MARKS = (("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"))
_HEADING = re.compile(
    r"(?:(?:step|part) \d{1,2}\b.*|\d{1,2}\. ?[A-Z][a-z].*|(?:final )?answer:?|.*:)", re.IGNORECASE
)
_BOLD = re.compile(r"(?<![\w*])\*\*([^*\n]{1,200})\*\*(?![\w*])")
_BOLD_QUANTITY = re.compile(rf"(?:[A-Za-z] ?= ?)?\$?(?:{NUMBER.pattern})\$?(?: [A-Za-z]+){{0,3}}")


class Extraction(NamedTuple):
    """An answer as it was found: its text, the rule that found it, and where it starts."""

    text: str
    found_by: str
    start: int


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
        if rule in rules and (found := _GUESSES[rule](text, numeric)) is not None:
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
    """The last box. Its text is empty where it is malformed, so that no earlier box is credited."""
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
        start = text.rfind("\\boxed{", 0, last.start)
        if between is None or not last.text or between.start() - start > MAX_ANSWER_CHARS:
            break
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
    for opening, closing in _FORMULA_MARKS if rest[:1] in "$\\" else ():
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
    for opening, closing in _FORMULA_MARKS:
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


def _bold(text: str, _numeric: bool) -> Extraction | None:
    at = text.rstrip().rfind("\n") + 1
    matches = list(_BOLD.finditer(text, at, at + MAX_ANSWER_CHARS))
    if len(matches) != 1:
        return None
    content = matches[0].group(1).strip().rstrip(".")
    if _BOLD_QUANTITY.fullmatch(content) is None:
        return None
    return Extraction(content, "bold", matches[0].start(1))


_PROSE = re.compile(r"[A-Za-z]{2,}")
_COMMAND = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|mbox|textit|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+"
    r"|(?:begin|end)?\{[a-z]*matrix\}"
)


def _whole(text: str, numeric: bool) -> Extraction | None:
    """A short text of one line without prose around its answer: at most three plain words."""
    stripped = text.strip()
    if not stripped or len(stripped) > 400 or ("\n" in stripped and "\\begin" not in stripped):
        return None
    if numeric and any("\u3040" <= char <= "\uffdc" and char.isalpha() for char in stripped):
        return None  # Chinese, Japanese and Korean put no space around a number
    plain = _COMMAND.sub(" ", stripped)
    words = _PROSE.findall(plain)
    if words and not numeric and re.match(r"[\s*]*[A-Za-z][^$\\]*(?:\$|\\\(|\\\[)", stripped):
        return None  # The result is $x + 1$.
    numbers = NUMBER.findall(stripped) if words else []
    starts_with_word = re.match(r"[ $(*]*[A-Za-z]+(?: |[A-Za-z])", plain) is not None
    if len(words) > (3 if numeric else 5) or (numeric and numbers and starts_with_word):
        return None
    if numbers and _IS_THE_ANSWER.search(plain):
        return None
    return Extraction(stripped, "whole", text.find(stripped))


def _last_math(text: str, numeric: bool) -> Extraction | None:
    """The last formula; where a number is asked for, only if it holds the last number."""
    best: Extraction | None = None
    for opening, closing in _FORMULA_MARKS:
        end = text.rfind(closing)
        if end <= 0:
            continue
        start = text.rfind(opening, 0, end)
        while start > 0 and opening == "$" and text[start - 1] == "\\":
            start = text.rfind(opening, 0, start)
        if start < 0 or end - start > MAX_ANSWER_CHARS:
            continue
        content = text[start + len(opening) : end].strip()
        if content and (best is None or start > best.start):
            best = Extraction(content, "last_math", start)
    if best is None:
        return None
    end = best.start + 2 + len(best.text)
    before = text[max(0, best.start - 40) : best.start]
    if _NEGATED.search(before) or _NEGATED_AFTER.match(text, end, end + 24):
        return best._replace(text=f"\\text{{not }}{best.text}")
    joined = _with_those_before(text, best)
    if not numeric:
        return joined
    # `$5 and then $6` holds no formula; of `6 \\times 7 = 42` the last side counts
    inside = best.text.rsplit("=", 1)[-1].strip() if "\\begin" not in best.text else ""
    after = text[end:]
    prose = _PROSE.search(_COMMAND.sub(" ", inside))
    if not inside or prose or any(char.isdecimal() for char in after):
        return None
    if not any(char.isdecimal() for char in inside):
        return None
    return best._replace(text=inside) if joined is best else joined


def _with_those_before(text: str, last: Extraction) -> Extraction:
    """The last formula, with those that "or" and "and" join to it: `$2$ or $3$` is no 3."""
    joined = False
    for _ in range(8):
        before = text[: max(text.rfind(mark, 0, last.start + 2) for mark in ("$", "\\(", "\\["))]
        between = _JOINED.search(before, max(0, len(before) - 40))
        if between is None or not (joined or between[2]):
            break
        closing = between[1]
        opening = {"$": "$", "\\)": "\\("}[closing]
        end = between.start()
        start = text.rfind(opening, 0, end)
        if start < 0 or end - start > MAX_ANSWER_CHARS:
            break
        content = text[start + len(opening) : end].strip()
        last = Extraction(f"{content} , {last.text}", "last_math", start)
        joined = True
    return last


def _last_number(text: str, _numeric: bool) -> Extraction | None:
    # The last window with a digit: a number longer than it is no answer.
    last_digit = next((i for i in range(len(text) - 1, -1, -1) if text[i].isdecimal()), -1)
    if last_digit < 0:
        return None
    begin = max(0, last_digit - 400)
    # A window that begins inside a word or number would make one up
    while 0 < begin < last_digit and not text[begin - 1].isspace():
        begin += 1
    # Digits inside a name ("v2", "XDY2K") are no number; the last real one before them is
    matches = list(NUMBER.finditer(text, begin, min(len(text), last_digit + 8)))
    if not matches:
        return None
    match = matches[-1]
    start, content = match.start(), match.group().strip()
    if scale := SCALE.match(text, match.end()):
        content += scale.group()
    if re.match(r"!+[^\s!]", text[match.end() : match.end() + 9]):  # 5!$ or 5!, not `It is 5!`
        content += "!"
    before = text[max(0, start - 40) : start]
    if text[match.end() : match.end() + 1] in tuple(FRACTIONS + POWERS):
        content += text[match.end()]
    elif content[:1].isdigit() and "/" in content and (whole := _WHOLE_BEFORE.search(before)):
        content = whole.group() + content  # 3 1/2
    if _NUMBER_OR_NUMBER.search(before):  # "41 or 42" is no answer, whichever is right
        content = before[next(i for i, c in enumerate(before) if c.isdecimal()) :] + content
    elif _NEGATED.search(before) or _NEGATED_AFTER.match(text, match.end(), match.end() + 24):
        content = f"not {content}"
    elif _MINUS.search(before):
        content = f"-{content}"
    return Extraction(content, "last_number", start)


_GUESSES: dict[str, Callable[[str, bool], Extraction | None]] = {
    "bold": _bold,
    "whole": _whole,
    "last_math": _last_math,
    "last_number": _last_number,
}
