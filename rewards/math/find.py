"""The final answer of a text: `<answer>`, `\\boxed{}`, `####`, "the answer is", or a guess.

    find_answer("so 6 * 7 = 42.\\n#### 42")   # Extraction(text="42", found_by="hash", start=15)

Every rule is a scan from the end that looks at each character a bounded number of times; nothing
here can be made to backtrack. Within a rule the last occurrence counts, and a last one that is
malformed credits no earlier one. The rules for answers that nothing marks are in `guess`. What it
leaves out: what a marked sentence states (`statement`, `letters`), and whether it is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from groupwise.rewards.math import layout
from groupwise.rewards.math.guess import (
    FORMULA_MARKS,
    GUESSES,
    MAX_ANSWER_CHARS,
    Extraction,
    find_unescaped,
)
from groupwise.rewards.math.refusals import denied, doubted, retraction
from groupwise.rewards.math.spelling import closes_at_end
from groupwise.rewards.math.vocabulary import ANSWER_WORDS, LINKS
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
"""All rules in descending priority; of `boxed`, `hash` and `phrase` the last in the text counts.

- `answer_tag`: inside the last `<answer>…</answer>`;
- `boxed`: inside the last `\\boxed{…}`, `\\fbox{…}` or `\\framebox{…}`, braces nested;
- `hash`: the rest of the line after the last `####` (GSM8K), unless that is a heading;
- `phrase`: after the last "answer is", "Antwort:", "答案是", `"answer": …`, or a heading "Answer";
- `bold`: a number in bold on the last line, with its unit;
- `whole`: the text itself, where it is short and reads as one bare answer;
- `last_math`: the last `$…$`, `\\(…\\)` or `\\[…\\]`; for a number, if it holds the last one;
- `last_number`: the value that the last sentence with one states.
"""

_TAG = re.compile(r"<answer>", re.IGNORECASE)
_TAG_END = re.compile(r"</answer>", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-z])\s*")
_UNIT_BEHIND_BOX = re.compile(
    r"(?:\\[,;: ]|\s|~)*((?:\\(?:text|mathrm|textrm)\s*\{[^{}]{1,40}\}(?:\s*\^\s*\{?\d\}?)?)"
    r"|\\?%|\^\s*\{?\\circ\}?)"
)
_SIGN_BEFORE_BOX = re.compile(r"(?:^|[$=(\[\s])-\s?$")
# What makes of a box a part of a larger formula
_LARGER = re.compile(
    r"(?:\s|\\[,;: ])*(?:\\cdot|\\times|\*|[+/!-](?!-)|\^\s*(?!\{?\s*\\circ)|\\pi|\}\s*\{)"
)
_PART_OF = re.compile(
    r"[0-9)*^_]\s*$|\\(?:cdot|times|sqrt)\s*\{?\s*$|\\frac\s*\{\s*$|\d[\s$}]*\b(?:or)\b[\s$\\(]*$"
)
_BOXES_JOINED = re.compile(
    r"\}\s*(?:\$|\\\)|\\\])?\s*(?:,|,?\s*(?:\b(?:or|and)\b|\\text ?\{ ?(?:or|and) ?\}))"
    r"\s*(?:\$|\\\(|\\\[)?\s*(?:[A-Za-z] ?= ?)?$"
)
_WORD = re.compile("|".join(map(re.escape, ANSWER_WORDS)))
_OTHER_WORD = re.compile("|".join(w for w in ANSWER_WORDS if w.isascii() and w != "answer"))
_LINKS = "|".join(sorted(map(re.escape, LINKS), key=len, reverse=True))
_AFTER_WORD = re.compile(
    r"s?[\s*_}\"'’)\]】」』]*(?:(?:to (?:the|this|your) (?:question|problem)|correcta?s?|finale?s?|correcte|corrett?a"
    r"|richtige|exacte|الصحيحة?|النهائية?|正确|正しい"
    r"|in total|of the problem)[\s*_}]*)?(?:here |therefore |thus |then )?"
    rf"(?:(?:{_LINKS})(?![a-z])|[:：=]|->|→|[—–-](?=\s))[\s*_:：}}]*"
    r"(?:therefore|thus|simply|just|exactly|equal to|that)?[\s*_:]*",
    re.IGNORECASE,
)
_HEADING_BEFORE = re.compile(
    r"(?:^|\n)[\s#*_>=-]*(?:\d{1,2}\. )?(?:the |my )?(?:final |correct )?$", re.IGNORECASE
)
_HEADING_AFTER = re.compile(r"s?[ \t:*_=#]*\n\s*")
_TURNED = re.compile(r"\bis (?:(?:the|my|our) )?(?:correct |final |right )?$", re.IGNORECASE)
# `5!` ends a sentence where a new one or nothing follows; in `5! = 120` it is a factorial
_SENTENCE_END = re.compile(
    r"(?<!\b[ap])(?<!\bvs)[.?](?=[\s)\"'*]|$)|(?<=\d)!+(?=\s*$|\s*\n|\s+[A-Z])|\n|[。？]"
)
_COPULA_BEHIND = re.compile(r"(?:です|である|だ|입니다|है|ఉంది)[.。]?$")
_END_MARK = re.compile(r"(?:<\|[A-Za-z_]{1,20}\|>|</s>|<eos>|<end_of_turn>)\Z")
_ANOTHER = re.compile(
    r"\s*(?:[,;/]\s*|\(?(?:or|and|but|maybe|perhaps|possibly)\b\s*)+(?:\$|\\\(|-?\d)|\d"
)
_HASH_HEADING = re.compile(
    r"(?:(?:step|part) \d{1,2}\b.*|\d{1,2}\. ?[A-Z][a-z].*|(?:final )?answer:?|.*:)", re.IGNORECASE
)
_PLAIN_END = re.compile(r"(\$?-?\d[\d,]*(?:\.\d+)?)\.?\s*")
# What follows the answer and is no part of it: the next problem, or a check of the result
_NEXT_PROBLEM = re.compile(r"\n[ \t]*(?:Q|Question|Problem|Human|User|### Instruction)\s*:")
_CHECK = re.compile(
    r"\n[ \t]*\**(?:Check|Verification|Verify|To verify|Let['’]s (?:check|verify))\b"
)


def find_answer(
    text: str, rules: Sequence[str] = RULES, *, closed: bool = True, numeric: bool = True
) -> Extraction | None:
    """The final answer in a text; None if no rule finds one.

    Looks only behind the last `</think>`; where a `<think>` was never closed, the rules that guess
    (`bold`, `whole`, `last_math`, `last_number`) do not run: an unfinished thought is no answer.
    `closed=False` says that the text was cut off at a token limit: an unclosed last box or tag
    holds no complete answer then, and nothing is guessed. `numeric=False` says that the reference
    is no number; then a formula is a better guess than the last number.
    """
    text, offset, thinking = _visible(text)
    if "answer_tag" in rules and (tags := list(_TAG.finditer(text))):
        return _shift(_answer_tag(text, tags[-1].end(), closed), offset)
    last = _boxed(text, closed) if "boxed" in rules else None
    if "hash" in rules and (found := _hash(text, numeric)) is not None:
        last = found if last is None or found.start > last.start else last
    begin = 0 if last is None else last.start
    if "phrase" in rules and (found := _phrase(text, begin)) is not None:
        last = found if last is None or found.start > last.start else last
    if last is not None:
        return _shift(_unless_retracted(text, last) if last.text else None, offset)
    if thinking or not closed:
        return None
    guesses = ("bold", "whole", "last_math") if numeric else ("whole", "last_math", "bold")
    for rule in (*guesses, "last_number"):
        if rule in rules and (found := GUESSES[rule](text, numeric)) is not None:
            return _shift(found, offset)
    return None


def _unless_retracted(text: str, found: Extraction) -> Extraction:
    """With what is said at once behind the answer, if that takes it back: "116. Or is it 120?"."""
    at = text.find(found.text, found.start)
    behind = retraction(text, at + len(found.text) if at >= 0 else len(text))
    return found._replace(text=found.text + behind) if behind else found


def _visible(text: str) -> tuple[str, int, bool]:
    """What is judged of a text, where it starts, and whether it ends in an unclosed thought."""
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
    if "\n" in text:
        text = _without_what_follows(text)
    return text, offset, thinking


def _without_what_follows(text: str) -> str:
    """Up to the next problem that a model went on with, or a check, if an answer stands before."""
    for pattern in (_NEXT_PROBLEM, _CHECK):
        match = pattern.search(text)
        if match is not None:
            head = text[: match.start()]
            if "####" in head or "\\boxed{" in head:
                text = head
    return text


def _shift(found: Extraction | None, offset: int) -> Extraction | None:
    if found is None or not offset:
        return found
    return Extraction(found.text, found.found_by, found.start + offset)


def _answer_tag(text: str, start: int, closed: bool) -> Extraction | None:
    end = _TAG_END.search(text, start)
    if end is None and not closed:
        return None
    content = text[start : end.start() if end is not None else None][:MAX_ANSWER_CHARS]
    if end is None and "\n" in content.strip():
        return None
    content = layout.block(content)[0].strip()
    if "\\boxed" in content and (inner := _boxed(content, True)) is not None:
        content = inner.text
    return Extraction(content, "answer_tag", start) if content else None


# --- boxes ---------------------------------------------------------------------------------------


def _boxed(text: str, closed: bool) -> Extraction | None:
    """The last box. Its text is empty if it is malformed, so that no earlier box is credited."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"), text.rfind("\\framebox"))
    if at < 0:
        return None
    match = _BOX.match(text, at)
    start = match.end() if match is not None else len(text)
    if start >= len(text):
        return Extraction("", "boxed", at)
    if text[start] != "{":  # \boxed 12
        end = start
        while end < len(text) and end - start < 64 and text[end] not in " \n\t$":
            end += 1
        return Extraction(text[start:end].rstrip(".,;"), "boxed", at)
    start += 1
    end = text.find("}", start, start + 40)
    if end < 0 or "{" in text[start:end] or "\\" in text[start:end]:
        end = _closing_brace(text, start)
    if end >= 0:
        content = text[start:end].strip()
        if "\\boxed" in content:  # a box in a box: `rfind` found the inner one already
            content = ""
        return _with_boxes_before(text, Extraction(_around(text, at, content, end), "boxed", at))
    # Unclosed. What stands on the rest of the line is the answer if the model stopped there of its
    # own accord; after a cut-off it may be half an answer.
    line = text[start:].split("\n", 1)[0].strip().rstrip("$.").strip()
    whole = closed and closes_at_end(line) and len(line) < 100
    whole = whole and start + len(line) + 8 > len(text.rstrip()) and not line.endswith("\\")
    return Extraction(line if whole else "", "boxed", at)


def _closing_brace(text: str, start: int) -> int:
    """Where the brace that was opened before `start` closes; -1 if it does not."""
    depth = 1
    for index in range(start, min(len(text), start + MAX_ANSWER_CHARS)):
        char = text[index]
        if char in "{}" and text[index - 1] != "\\":  # \{ and \} are set braces
            depth += 1 if char == "{" else -1
            if depth == 0:
                return index
    return -1


def _around(text: str, at: int, content: str, end: int) -> str:
    """A box's content with the sign before it and the unit behind it, in the same formula."""
    if at and text[at - 1] in "- " and _SIGN_BEFORE_BOX.search(text, max(0, at - 4), at):
        content = f"-({content})" if content[:1] in "-+" or " " in content else f"-{content}"
    before = text[max(0, at - 40) : at]
    larger = _LARGER.match(text, end + 1, end + 40)
    if larger is not None or denied(before, "") or _PART_OF.search(before):
        return f"{before[-20:].strip()} {content} {larger[0] if larger is not None else ''}".strip()
    if text[end + 1 : end + 2] in ("\\", "^", "%", " ", "~"):
        unit = _UNIT_BEHIND_BOX.match(text, end + 1, end + 80)
        if unit is not None and content[-1:].isdigit():
            content += " " + unit[1]
    return content


def _with_boxes_before(text: str, last: Extraction) -> Extraction:
    """The last box, with those that a comma, "or" and "and" join to it: they are one list."""
    for _ in range(8):
        between = _BOXES_JOINED.search(text, max(0, last.start - 60), last.start)
        if between is None or not last.text:
            break
        start = text.rfind("\\boxed{", max(0, between.start() - MAX_ANSWER_CHARS), last.start)
        content = text[start + len("\\boxed{") : between.start()].strip()
        if start < 0 or not closes_at_end(content):
            break
        last = Extraction(f"{content} , {last.text}", "boxed", start)
    return last


# --- lines and phrases ---------------------------------------------------------------------------


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
    return None if plain or _HASH_HEADING.fullmatch(line) else Extraction(line, "hash", at)


def _phrase(text: str, begin: int) -> Extraction | None:
    """What stands behind the last mention of an answer, from `begin` on, that states one."""
    lowered = text.lower() if text.isascii() else _lower_same_length(text)
    begin = max(begin, len(text) - 20_000)
    if (
        text.isascii()
        and "answer" not in lowered[begin:]
        and not _OTHER_WORD.search(lowered, begin)
    ):
        return None
    mentions = [m.start() for m in _WORD.finditer(lowered, begin)]
    for at in reversed(mentions[-20:]):
        word = _WORD.match(lowered, at)
        assert word is not None
        after = _AFTER_WORD.match(text, word.end(), word.end() + 200)
        before = text[max(0, at - 60) : at]
        if after is None and not word[0].isascii():  # without a link
            after = re.compile(r"[\s】」』)]*(?=[\d$\\(A-J-])").match(text, word.end())
        if after is None and _HEADING_BEFORE.search(before):
            after = _HEADING_AFTER.match(text, word.end())
        if after is None:
            turned = _TURNED.search(before)
            asked = re.search(r"\b(?:what|which) is", before[-30:], re.IGNORECASE)
            if (
                turned is not None
                and not asked
                and not re.match(r"s?\s*(?:is|:|choice)", text[word.end() :])
            ):
                line = before[: turned.start()].rsplit("\n", 1)[-1]
                sentence = re.split(r"[.;] |^.*\b(?:so|thus|therefore|hence),? ", line, flags=re.I)[
                    -1
                ]
                if sentence.strip():
                    return Extraction(sentence.strip(), "phrase", at - 60 + len(before) - len(line))
            continue
        if doubted(before, text[word.end() : word.end() + 40]):
            return Extraction(text[at : after.end()].strip(), "phrase", at)
        content, start = _content(text, after.end(), "\n" in text[at : after.end()])
        if content is None:
            return None
        if content:
            return Extraction(content, "phrase", start)
    return None


def _content(text: str, start: int, own_line: bool) -> tuple[str | None, int]:
    """The sentence, line, list or block behind a mark; None: a box stands there, which decides."""
    if (plain := _PLAIN_END.fullmatch(text, start)) is not None:  # the commonest, and quick
        return plain[1], start
    rest, skipped = layout.block(text[start : start + MAX_ANSWER_CHARS], own_line)
    start += skipped
    if "\\boxed" in rest[:40] or "\\fbox" in rest[:40]:
        return None, start
    if rest.startswith("####"):
        return None, start
    if rest[:1] in "\"'“「" and (
        quoted := re.match(r"([\"'])(.{1,400}?)\1|“([^”]{1,400})”|「([^」]{1,400})」", rest)
    ):
        return next(g for g in quoted.groups()[1:] if g).strip(), start
    return _first_sentence(rest), start


def _first_sentence(rest: str) -> str:
    """Up to the end of the sentence or line; a formula in `$…$` is taken whole."""
    for opening, closing in FORMULA_MARKS if rest[:1] in "$\\" else ():
        if rest.startswith(opening):
            end = find_unescaped(rest, closing, len(opening))
            line = rest.find("\n", len(opening) + 1)
            # `$5 and $6`: what follows a currency sign is no formula
            several = end > 0 and _ANOTHER.match(rest, end + len(closing)) is not None
            if end > 0 and not several and (line < 0 or end < line or opening != "$"):
                inner = rest[len(opening) : end]
                if opening != "$" or not re.search(r"\d [a-z]{2}", inner):
                    tail = rest[end + len(closing) :]
                    unit = re.match(r"\s?(?:\\?%|[a-z]{1,12}\b)?", tail)
                    return inner.strip() + (unit[0] if unit and "%" in unit[0] else "")
            break
    end_match = _SENTENCE_END.search(rest)
    sentence = rest[: end_match.start()] if end_match else rest
    if "\\)" in sentence and "\\(" in sentence and sentence.count("\\(") > 1:
        sentence = sentence.replace("\\(", " ").replace("\\)", " ")  # \(1\) and \(2\)
    sentence = _COPULA_BEHIND.sub("", sentence.strip())
    return _without_dangling(sentence.strip("*_").strip())


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


def _lower_same_length(text: str) -> str:
    # "İ".lower() is two characters long; positions must stay those of the text
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
