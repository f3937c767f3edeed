"""The final answer of a text: `<answer>`, `\\boxed{}`, `####`, "the answer is", or a guess.

    find_answer("so 6 * 7 = 42.\\n#### 42")   # Extraction(text="42", found_by="hash", start=15)

Every rule is a scan from the end that looks at each character a bounded number of times; nothing
here can be made to backtrack. Within a rule the last occurrence counts, and a last one that is
malformed credits no earlier one. A new mark is a new rule here; a new word for "answer" goes into
`vocabulary`. What it leaves out: answers that nothing marks (`guess`), what a marked sentence
states (`statement`, `letters`), and whether it is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from groupwise.rewards.math import layout
from groupwise.rewards.math.guess import GUESSES, MAX_ANSWER_CHARS, Extraction, with_those_before
from groupwise.rewards.math.read import read
from groupwise.rewards.math.refusals import denied, doubted, retraction
from groupwise.rewards.math.spelling import closes_at_end
from groupwise.rewards.math.statement import is_value, stated
from groupwise.rewards.math.vocabulary import ANSWER_WORDS, LINKS
from groupwise.rewards.text import MAX_TEXT_CHARS, strip_invisible

RULES: tuple[str, ...] = (
    "answer_tag", "boxed", "hash", "phrase", "bold", "whole", "last_math", "last_number",
)  # fmt: skip
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
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*")
# What makes of a box a part of a larger formula, or one of several answers
_LARGER = re.compile(
    r"(?:\s|\\[,;: ])*"
    r"(?:\\cdot|\\times|\*{1,2}(?=\w|[({]|\\[a-zA-Z])|(?<=\s)\*\s|[+/!-](?!-)|\^\s*(?!\{?\s*\\circ))"
)
# Stars or underscores that make the box bold, or the mark of a list: no sign of a formula.
_EMPHASIS = re.compile(
    r"(?:(?:^[ \t]*-[ \t]+|^|(?<=[\s(]))(?:\*{1,3}|_{1,3})|^[ \t]*\*[ \t]+)(?=[$\\(]*$)", re.M
)
_PART_OF = re.compile(
    r"(?:[0-9)*^_]|(?:\\(?:cdot|times|sqrt)|\\frac)\s*\{?|\d[\s$}]*\bor\b[\s$\\(]*)\s*$"
)
_SIGN_BEFORE_BOX = re.compile(r"(?:^|[$=(\[\s*_])-\s?$")
_BETWEEN_BOXES = re.compile(
    r"(\})\s*(?:\$|\\\)|\\\])?\s*([,;]|,?\s*\b(?:or|and|alternatively)\b)"
    r"\s*(?:\$|\\\(|\\\[)?\s*(?:[A-Za-z] ?= ?)?$"
)
# What is said about an answer, and states none: "I hope this answer is helpful"
_ABOUT = re.compile(
    r"(?:helpful|clear|unclear|wrong|correct|incorrect|shown|given|as (?:above|below|boxed|follows)"
    r"|in \w+s\b|an? (?:integer|number|whole)|rounded|already|explained|see |based"
    r"|the (?:number|amount|value) of"
    r"|simplified|expressed|written|above|below|boxed|not (?:clear|simple|obvious))",
    re.IGNORECASE,
)
_ANSWER = re.compile("answer")
_WORD = re.compile("|".join(map(re.escape, ANSWER_WORDS)))
_ASCII_WORD = re.compile("|".join(word for word in ANSWER_WORDS if word.isascii()))
_LINKS = "|".join(sorted(map(re.escape, LINKS), key=len, reverse=True))
_AFTER_WORD = re.compile(
    r"s?[\s*_}\"'’)\]】」』]*"
    r"(?:(?:to (?:the|this|your) (?:question|problem)|correct[ao]?s?|corrett?a|finale?s?|richtige"
    r"|exacte|正确|正しい)[\s*_}]*)?"
    rf"(?:(?:{_LINKS})(?![a-z])|[:：=]|->|→|[—–-](?=\s))[\s*_:：}}]*",
    re.IGNORECASE,
)
_NO_LINK = re.compile(r"[\s】」』)]*(?=[\d$\\(A-J-])")  # 答案 42
_HEADING_BEFORE = re.compile(r"(?:^|\n)[\W_]*(?:final |correct )?$", re.IGNORECASE)
_TURNED = re.compile(  # "so 6 is our answer"
    r"(?:^|[.;\n]|\b(?:so|thus|therefore|hence)\b,?)\s*([^.;\n]+?)(?<!what)(?<!which)"
    r" is (?:the|my|our) (?:correct |final |right )?$",
    re.IGNORECASE,
)
_HEADING_AFTER = re.compile(r"s?[ \t:*_=#]*\n\s*")
# `5!` ends a sentence where a new one or nothing follows; in `5! = 120` it is a factorial
_SENTENCE_END = re.compile(
    r"(?<!\b[ap])(?<!\bvs)[.?](?=[\s)\"'*]|$)|(?<=\d)!+(?=\s*$|\s*\n|\s+[A-Z])|\n|[。？]"
)
_COPULA_BEHIND = re.compile(r"(?:です|である|입니다)[.。]?$")
# Colours of a terminal and tags of HTML: layout, too
_PAINT = re.compile(r"\x1b\[[\d;]{0,20}m|</?(?:b|strong|i|em|u|mark)>")
_QUOTED = re.compile(r"^>+[ \t]?", re.MULTILINE)
# To the reader, at the end; without digits and formulas, so that it hides no answer
_COURTESY = re.compile(
    r"(?:\s+(?:(?:i )?hope (?:this|that|it|(?:the|my) answer)|(?:please )?let me know|feel free"
    r"|if you (?:have|need) (?:any|other|more|further))\b[^\n\d\\$]{0,120})+$",
    re.IGNORECASE,
)
_END_MARKS = re.compile(r"(?:\s*(?:<\|[A-Za-z_]{1,20}\|>|</s>|<eos>))+$")
_HASH_HEADING = re.compile(r"(?:step|part) \d.*", re.IGNORECASE)
_PLAIN_END = re.compile(r"(\$?-?\d[\d,]*(?:\.\d+)?)\.?\s*")
# A formula that is the whole sentence; `$5 per box for $6` holds none
_FORMULA = re.compile(
    r"(?:\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\(((?:[^\\]|\\[^)])+)\\\)|\$(?![\d.,]+ [a-z])([^$\n]+)\$)"
    r"(?=[.,]?\s*(?:\n|$)|[.,] [^\d$\\\n]*(?:\n|$))",
    re.DOTALL,
)
# What follows the answer and is no part of it: the next problem, or a check of the result
_GOES_ON = re.compile(
    r"\n[ \t]*\**(?:(?:Q|Question|Problem|Human|User|### Instruction)\s?:"
    r"|(?:Check|Verification|Verify|To verify|Let['’]s (?:check|verify))\b)"
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
    found = None
    if "<" in text and "answer_tag" in rules and (tags := list(_TAG.finditer(text))):
        found = _answer_tag(text, tags[-1].end(), closed)
    else:
        last = _boxed(text, closed) if "boxed" in rules else None
        if "hash" in rules and (line := _hash(text, numeric)) is not None:
            last = line if last is None or line.start > last.start else last
        if "phrase" in rules:
            last = _phrase(text, last) or last
        if last is not None:
            found = _unless_retracted(text, last) if last.text else None
        elif closed and not thinking:
            tried = (guess(text, numeric) for rule, guess in GUESSES.items() if rule in rules)
            found = next((guess for guess in tried if guess is not None), None)
    if found is not None and offset:
        found = found._replace(start=found.start + offset)
    return found


def visible(text: str) -> str:
    """The part of a text that is judged: behind its thoughts, without what is only layout."""
    return _visible(text)[0]


def _visible(text: str) -> tuple[str, int, bool]:
    """What is judged of a text, where it starts, and whether it ends in an unclosed thought."""
    offset = max(0, len(text) - MAX_TEXT_CHARS)
    text = text[offset:]
    text = text.replace("\r\n", "\n")
    if not text.isascii():
        text = strip_invisible(text).replace("\u00a0", " ").replace("\u202f", " ")
    if "\x1b" in text or "</" in text:
        text = _PAINT.sub("", text)
    if text.rstrip().endswith(">"):
        text = text[:-100] + _END_MARKS.sub("", text[-100:].rstrip())
    lines = text.splitlines() if text.startswith(">") else ()
    if lines and all(line[:1] == ">" for line in lines if line.strip()):
        text = _QUOTED.sub("", text)
    if (courtesy := _COURTESY.search(text, max(0, len(text) - 400))) is not None:
        text = text[: courtesy.start()]
    answer_from = text.rfind("</think>")
    thinking = text.rfind("<think>") > answer_from
    if answer_from >= 0:
        start = answer_from + len("</think>")
        text, offset = text[start:], offset + start
    if "\n" in text and (more := _GOES_ON.search(text)) is not None:
        head = text[: more.start()]
        text = head if "####" in head or _BOX.search(head) is not None else text
    return text, offset, thinking


def _unless_retracted(text: str, found: Extraction) -> Extraction:
    """With what is said at once behind the answer, if that takes it back: "116. Or is it 120?"."""
    at = text.find(found.text, found.start)
    behind = retraction(text, at + len(found.text) if at >= 0 else len(text))
    return found._replace(text=found.text + behind) if behind else found


def _answer_tag(text: str, start: int, closed: bool) -> Extraction | None:
    end = _TAG_END.search(text, start)
    content = text[start : end.start() if end is not None else None][:MAX_ANSWER_CHARS]
    if end is None and (not closed or "\n" in content.strip()):
        return None
    content = layout.block(content)[0].strip()
    content += retraction(text, end.end()) if end is not None else ""
    if "\\boxed" in content and (inner := _boxed(content, True)) is not None:
        content = inner.text
    return Extraction(content, "answer_tag", start) if content else None


def _boxed(text: str, closed: bool) -> Extraction | None:
    """The last box. Its text is empty if it is malformed, so that no earlier box is credited."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"), text.rfind("\\framebox"))
    if at < 0:
        return None
    start = _BOX.match(text, at).end()  # type: ignore[union-attr]
    if text[start : start + 1] != "{":  # \boxed 12
        return Extraction(
            re.split(r"[\s$]", text[start : start + 64])[0].rstrip(".,;"), "boxed", at
        )
    start += 1
    end = _closing_brace(text, start)
    if end >= 0:
        found = Extraction(_in_formula(text, at, text[start:end].strip(), end), "boxed", at)
        return with_those_before(text, found, _BETWEEN_BOXES, "\\boxed{")
    # Unclosed. What stands on the rest of the line is the answer if the model stopped there of its
    # own accord; after a cut-off it may be half an answer.
    line = text[start:].strip().rstrip("$.").strip()
    whole = closed and closes_at_end(line) and len(line) < 100 and "\n" not in line
    return Extraction(line if whole and not line.endswith("\\") else "", "boxed", at)


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


def _in_formula(text: str, at: int, content: str, end: int) -> str:
    """A box's content with its sign, and with what else makes it a part of a larger formula."""
    before = _EMPHASIS.sub("", text[max(0, at - 40) : at])
    if _SIGN_BEFORE_BOX.search(before):
        return f"-{content}" if content.isdigit() else f"-({content})"
    larger = _LARGER.match(text, end + 1, end + 40)
    if larger is not None or denied(before) or _PART_OF.search(before):
        return f"{before[-20:]} {content} {larger[0] if larger is not None else ''}".strip()
    return content


def _hash(text: str, numeric: bool) -> Extraction | None:
    at = text.rfind("####")
    if at < 0:
        return None
    rest = text[at + 4 : at + 4 + MAX_ANSWER_CHARS].lstrip("# \t\n")
    line, _, below = rest.partition("\n")
    line = line.strip().strip("*").strip()
    # `#### Step 3` is a heading of Markdown; what stands below it states the answer
    plain = numeric and below.strip() and not any(map(str.isdecimal, line))
    return None if plain or _HASH_HEADING.fullmatch(line) else Extraction(line, "hash", at)


def _phrase(text: str, marked: Extraction | None) -> Extraction | None:
    """What stands behind the last mention of an answer that states one.

    Behind a box or `####` only a bare value counts: most models end with "I hope this answer is
    clear".
    """
    lowered = text.lower()
    if len(lowered) != len(text):  # "İ".lower() is two characters long
        lowered = text
    begin = max(0 if marked is None else marked.start, len(text) - 20_000)
    words = _ANSWER  # a literal, which is found faster than one of many
    if lowered.find("answer", begin) < 0:
        words = _ASCII_WORD if text.isascii() else _WORD
    for word in reversed(list(words.finditer(lowered, begin))[-20:]):
        before = text[max(0, word.start() - 60) : word.start()]
        after = _AFTER_WORD.match(text, word.end(), word.end() + 200)
        if after is None and not word[0].isascii():
            after = _NO_LINK.match(text, word.end())
        if after is None and _HEADING_BEFORE.search(before):
            after = _HEADING_AFTER.match(text, word.end())
        if after is None and (turned := _TURNED.search(before)) is not None:
            content: str | None = stated(turned[1]) or turned[1]
            start = word.start() - len(before) + turned.start(1)
        elif after is None:
            continue
        elif doubted(before, text[word.end() : word.end() + 40]):
            content, start = text[word.start() : after.end()].strip(), word.start()
        else:
            content, start = _content(text, after.end(), "\n" in after[0])
        if content is None:
            return None
        if content and (is_value(read(content)) if marked else not _ABOUT.match(content)):
            return Extraction(content, "phrase", start)
    return None


def _content(text: str, start: int, own_line: bool) -> tuple[str | None, int]:
    """The sentence, line, list or block behind a mark; None: another mark stands there."""
    if (plain := _PLAIN_END.fullmatch(text, start)) is not None:  # the commonest, and quick
        return plain[1], start
    rest, skipped = layout.block(text[start : start + MAX_ANSWER_CHARS], own_line)
    if "\\boxed" in rest[:40] or "\\fbox" in rest[:40] or rest.startswith("####"):
        return None, start
    return _first_sentence(rest), start + skipped


def _first_sentence(rest: str) -> str:
    """Up to the end of the sentence or line; a formula is taken whole."""
    if (formula := _FORMULA.match(rest)) is not None:
        return formula[formula.lastindex or 0].strip()
    end = _SENTENCE_END.search(rest)
    sentence = rest[: end.start()] if end is not None else rest
    if sentence.count("\\(") > 1:
        sentence = sentence.replace("\\(", " ").replace("\\)", " ")  # \(1\) and \(2\)
    sentence = _COPULA_BEHIND.sub("", sentence.strip()).strip("*_ ")
    # The end of what began before the phrase: `$\text{Answer: }5$`, `{"answer": 5}`
    if sentence.endswith("$") and "$" not in sentence[:-1]:
        sentence = sentence[:-1]
    return sentence[:-1] if sentence.endswith("}") and not closes_at_end(sentence) else sentence
