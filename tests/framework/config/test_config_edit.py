"""A config's text with other values: what is changed, and that all else stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.framework.config import list_presets, preset_text
from groupwise.framework.config.edit import edited
from groupwise.framework.config.overrides import apply_overrides
from groupwise.framework.config.yaml import parse_yaml

# what is there, key, value, what comes out
CASES = {
    "a value": ("t: # how\n  a: 1   # one\n", "t.a", 2, "t: # how\n  a: 2   # one\n"),
    "quotes": ('m: {a: "x y"}\n', "m.a", "z", "m: {a: z}\n"),
    "a word that YAML reads as no text": ("m: {a: x}\n", "m.a", "true", 'm: {a: "true"}\n'),
    "text with a colon": ("a: x\n", "a", "f.py: g", 'a: "f.py: g"\n'),
    "null": ("a: 1\n", "a", None, "a: null\n"),
    "true": ("a: null  # none\n", "a", True, "a: true  # none\n"),
    "a list on a line": ("e:\n  k: [1, 2]  # ks\n", "e.k", [1], "e:\n  k: [1]  # ks\n"),
    "nothing behind the key": ("e:\n  k:\n  l: 1\n", "e.k", 3, "e:\n  k: 3\n  l: 1\n"),
    "no such key": ("e:\n   # k\n   k: 1\nf:", "e.l", 3, "e:\n   l: 3\n   # k\n   k: 1\nf:"),
    "no such key in braces": ("e: {k: 1}\n", "e.l", 3, "e: {l: 3, k: 1}\n"),
    "empty braces": ("e: {}\n", "e.l.m", 3, "e: {l: {m: 3}}\n"),
    "an empty section": ("e:\nf: 2\n", "e.l", 3, "e:\n  l: 3\nf: 2\n"),
    "an empty section at the end": ("f: 2\ne:", "e.l", 3, "f: 2\ne:\n  l: 3\n"),
    "no such section": ("f: 2\n", "e.l", 3, "f: 2\n\ne:\n  l: 3\n"),
    "JSON": ('{"e": {"k": 1}}\n', "e.k", 2, '{"e": {"k": 2}}\n'),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_value_is_changed_and_all_else_stays(case: str) -> None:
    text, key, value, expected = CASES[case]
    assert edited(text, {key: value}) == expected


@pytest.mark.parametrize("text", ["k:\n  - 1\n  - 2\n", "k: >-\n  a\n", "k:\n  l: 1\n"])
def test_block_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="block form"):
        edited(text, {"k": 1})


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text("aZ0 _-.:,#'\"{}[]&*!|>%@`?\\/~é\n🙂"),
)  # fmt: skip
KEYS = st.sampled_from(
    (
        *("training.completions_per_forward", "training.optim", "seed", "model.load_in_4bit"),
        *("evaluation.max_completion_length", "tracking.project"),
    )
)


@settings(max_examples=15, deadline=None)  # a preset is read four times
@given(st.sampled_from(sorted(list_presets())), st.dictionaries(KEYS, VALUES))
def test_presets_read_back_as_what_was_set(preset: str, values: dict[str, object]) -> None:
    text = preset_text(preset)
    expected = parse_yaml(text).data
    apply_overrides(expected, list(values.items()), {})
    after = edited(text, values)
    assert parse_yaml(after).data == expected
    assert _comments(text) <= _comments(after)  # a value may have the mark of one


def _comments(text: str) -> set[str]:
    return {line.rpartition("# ")[2] for line in text.splitlines() if "# " in line}
