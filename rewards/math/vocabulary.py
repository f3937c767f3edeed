"""Tables of words and signs that the grader knows; nothing here decides anything.

A new spelling of something known goes into one of these tables. What it leaves out: units of
measure, which pint knows (`units`), and spellings of a missing reference (`rewards.missing`).
"""

from __future__ import annotations

# --- signs ---------------------------------------------------------------------------------------

FRACTIONS, POWERS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ"
INDICES = "₀₁₂₃₄₅₆₇₈₉"
PLAIN_POWERS, PLAIN_INDICES = "0123456789+-()n", "0123456789"

SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": "*", "⋅": "*", "·": "*",
    "∗": "*", "•": "*", "÷": "/", "⁄": "/", "∕": "/", "∞": "\\infty ", "º": "°",
    "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=", "≠": "!=", "∪": "\\cup ", "∩": "\\cap ",
    "∈": "\\in ", "≃": "≈", "±": "\\pm ", "∅": "\\emptyset ", "≡": "\\equiv ",
    "∧": " \\land ", "∨": " \\lor ", "∀": "\\forall ", "∃": "\\exists ", "¬": "\\neg ",
    "⇒": "\\Rightarrow ",
    "ℝ": "\\mathbb{R} ", "ℤ": "\\mathbb{Z} ", "ℕ": "\\mathbb{N} ", "ℚ": "\\mathbb{Q} ",
    "⟨": "\\langle ", "⟩": "\\rangle ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
    "，": ",", "、": ",", "。": ".", "；": ";", "：": ":", "٫": ".", "٬": ",", "،": ",", "！": "!",
    "（": "(", "）": ")", "％": "%", "٪": "%", "＝": "=", "＜": "<", "＞": ">", "～": "~",
    "…": "...",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ",
}  # fmt: skip

# Letters alone; in a word they are Greek
GREEK_LETTERS = {
    "π": "\\pi ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "λ": "\\lambda ",
    "φ": "\\phi ", "ω": "\\omega ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "τ": "\\tau ",
    "δ": "\\delta ", "ε": "\\epsilon ", "Δ": "\\Delta ", "Ω": "\\Omega ",
}  # fmt: skip

# Fonts become \text, so that only one is known further on
COMMANDS = {
    "dfrac": "\\frac ", "tfrac": "\\frac ", "cfrac": "\\frac ", "left": "", "right": "",
    "bigl": "", "bigr": "", "big": "", "Big": "", "Bigl": "", "Bigr": "", "bigg": "", "Bigg": "",
    "biggl": "", "biggr": "", "middle": "", "displaystyle": "", "textstyle": "", "limits": "",
    "nolimits": "", "rm": "", "bf": "", "it": "", "displaylimits": "", "smallskip": "",
    "hfill": "", "large": "", "Large": "", "LARGE": "", "huge": "", "Huge": "", "small": "",
    "normalsize": "", "tiny": "", "scriptstyle": "", "noindent": "", "boldsymbol": "",
    "bm": "", "underline": "", "mathopen": "",
    "mathclose": "", "quad": " ", "qquad": " ", "enspace": " ", "thinspace": " ", "cdot": "*",
    "times": "*", "ast": "*", "bullet": "*", "div": "/", "le": "<=", "leq": "<=",
    "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">",
    "ne": "!=", "neq": "!=", "approx": "≈", "simeq": "≈", "lbrace": "\\{", "rbrace": "\\}",
    "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "vert": "|", "lvert": "|",
    "rvert": "|", "mid": "|", "degree": "°", "textdegree": "°", "deg": "°",
    "varnothing": "\\emptyset ", "textrm": "\\text", "mathrm": "\\text", "mathbf": "\\text",
    "textbf": "\\text", "textit": "\\text", "mathit": "\\text", "textsf": "\\text",
    "texttt": "\\text", "mathsf": "\\text", "mbox": "\\text", "emph": "\\text",
    "textnormal": "\\text", "operatorname": "\\text", "textup": "\\text", "ldots": "\\dots ",
    "cdots": "\\dots ", "dotsc": "\\dots ", "dotsb": "\\dots ", "union": "\\cup ",
    "bigcup": "\\cup ", "dollar": "$", "euro": "€", "pounds": "£", "percent": "%",
    "bar": "\\overline ", "colon": ":", "dbinom": "\\binom ", "tbinom": "\\binom ",
    "surd": "\\sqrt ", "infin": "\\infty ", "prime": "'", "isin": "\\in ", "varphi": "\\phi ",
    "varepsilon": "\\epsilon ", "vartheta": "\\theta ", "lor": " \\lor ", "vee": " \\lor ",
    "land": " \\land ", "wedge": " \\land ", "implies": "\\Rightarrow ", "lnot": "\\neg ",
}  # fmt: skip
SPACING = {
    "\\!": "", "\\,": " ", "\\;": " ", "\\:": " ", "\\>": " ", "\\ ": " ", "\\%": "%",
    "\\$": "$", "\\#": "#", "\\&": "&", "\\_": "_", "\\'": "'", "\\/": "",
}  # fmt: skip
CURRENCIES = "$€£¥₹¢"
# Letters behind a number that are a unit rather than variables
SYMBOLS = {
    "mm", "cm", "dm", "m", "km", "in", "ft", "yd", "mi", "mg", "g", "kg", "lb", "lbs", "oz", "t",
    "ms", "s", "sec", "min", "mins", "h", "hr", "hrs", "ml", "mL", "dl", "cl", "l", "L", "Hz",
    "kHz", "MHz", "GHz", "N", "kN", "J", "kJ", "MJ", "W", "kW", "MW", "kWh", "V", "kV", "mV", "A",
    "mA", "Pa", "kPa", "MPa", "atm", "K", "mol", "eV", "keV", "MeV", "GeV", "cal", "kcal", "B",
    "KB", "kB", "MB", "GB", "TB", "mph", "kph", "rpm", "rad", "deg", "degrees", "cents",
    "dollars", "nm", "µm", "ns", "ohm",
}  # fmt: skip

# --- numbers -------------------------------------------------------------------------------------

SCALES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12, "millionen": 10**6, "millones": 10**6, "millions": 10**6, "milliarden": 10**9,
    "万": 10**4, "亿": 10**8,
}  # fmt: skip
_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
NUMBER_WORDS = {word: value for value, word in enumerate(_NAMES.split())}
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORDS |= {word: 10 * value for value, word in enumerate(_TENS, 3)}
# `two thirds`; behind digits a quarter may be a coin (`read`)
PARTS = {
    "half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "quarter": 4, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12,
    "twentieth": 20, "hundredth": 100,
}  # fmt: skip
PARTS |= {f"{name}th": value for name, value in NUMBER_WORDS.items() if 13 <= value <= 19}
CHINESE_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {
    "〇": 0, "两": 2, "兩": 2,
}  # fmt: skip
CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8}

# --- words ---------------------------------------------------------------------------------------

TRUTHS = {
    "true": True, "yes": True, "false": False, "no": False, "да": True, "нет": False,
    "是": True, "否": False, "对": True, "错": False, "oui": True, "non": False, "ja": True,
    "nein": False, "sí": True, "si": True, "はい": True, "いいえ": False, "نعم": True, "لا": False,
    "verdadero": True, "falso": False, "wahr": True, "falsch": False, "vrai": True, "faux": False,
}  # fmt: skip
# Every spelling, without articles and in lower case, of what has a name in words
NAMED = {
    "all real numbers": "reals", "all reals": "reals", "set of all real numbers": "reals",
    "real numbers": "reals", "empty set": "empty", "infinity": "infinity",
    "negative infinity": "-infinity", "minus infinity": "-infinity",
    "no solution": "no solution", "no solutions": "no solution",
    "there is no solution": "no solution", "there are no solutions": "no solution",
    "no real solution": "no real solution", "no real solutions": "no real solution",
    "there are no real solutions": "no real solution",
    "does not exist": "does not exist", "dne": "does not exist", "not exist": "does not exist",
    "infinitely many": "infinitely many", "infinitely many solutions": "infinitely many",
    "there are infinitely many solutions": "infinitely many",
    "infinite solutions": "infinitely many", "infinite number of solutions": "infinitely many",
}  # fmt: skip
# Words of one class exclude each other: a sentence that names one of them says which
CLASSES = (
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april may june july august september october november december",
    "odd even",
    "north south east west northeast northwest southeast southwest",
    "increasing decreasing constant",
    "convergent divergent",
)  # fmt: skip
MONTHS = {
    name[:n]: index
    for index, name in enumerate(CLASSES[1].split(), 1)
    for n in (3, len(name))
} | {"sept": 9}  # fmt: skip
# One of these stands in everything that denies or changes the value behind it (`refusals`)
DENYING = {
    "not", "never", "cannot", "nor", "neither", "isn", "without", "except", "excluding", "but",
    "instead", "hardly", "far", "nicht", "kein", "keine", "no", "non", "pas", "não", "nie", "не",
    "wrong", "incorrect", "almost", "nearly", "at", "up", "under", "over", "plus", "by", "than",
    "half", "twice", "double", "triple", "thrice", "root", "multiple", "factor", "divisor",
    "power", "cube", "square", "inverse", "opposite", "reciprocal", "third", "quarter",
    "fraction", "row", "column", "seat", "after", "before", "bound", "t",
}  # fmt: skip
UNKNOWING = (
    "i don't know", "i do not know", "don't know", "do not know", "idk", "not sure", "unknown",
    "i am not sure", "i'm not sure", "cannot be determined from what i know", "no idea",
    "no answer", "none", "n/a", "nan", "null", "?",
)  # fmt: skip

# What announces an answer, and what links it, in the languages of common data sets
ANSWER_WORDS = (
    "answer", "antwort", "respuesta", "réponse", "reponse", "risposta", "resposta", "antwoord",
    "ответ", "відповідь", "答案", "答え", "正解", "回答", "답", "정답", "الجواب", "الإجابة",
    "الاجابة", "پاسخ", "جواب", "उत्तर", "উত্তর", "సమాధానం", "విడై", "பதில்", "คำตอบ", "đáp án",
    "câu trả lời", "jawaban", "jibu", "cevap", "yanıt", "odpowiedź", "odpověď", "svar", "vastaus",
    "απάντηση", "תשובה", "válasz", "răspuns",
)  # fmt: skip
LINKS = (
    "is", "are", "was", "would be", "will be", "should be", "must be", "equals", "ist", "lautet",
    "beträgt", "es", "son", "est", "è", "é", "sono", "são", "jest", "to", "это", "равен", "равно",
    "是", "为", "為", "は", "هو", "هي", "है", "হল", "হলো", "คือ", "là", "adalah", "ni", "είναι",
    "respectively",
)  # fmt: skip
CHOICE_WORDS = (
    "option", "choice", "answer", "graph", "figure", "statement", "letter", "opción", "opcion",
    "choix", "auswahl", "вариант", "选项", "选", "選", "選択肢", "الخيار", "opzione", "opção",
)  # fmt: skip

# --- units ---------------------------------------------------------------------------------------

MONEY = {
    "$": ("$", 100), "dollar": ("$", 100), "usd": ("$", 100), "buck": ("$", 100),
    "cent": ("$", 1), "¢": ("$", 1), "€": ("€", 1), "euro": ("€", 1), "eur": ("€", 1),
    "£": ("£", 1), "¥": ("¥", 1), "yen": ("¥", 1), "₹": ("₹", 1), "rupee": ("₹", 1), "rs": ("₹", 1),
}  # fmt: skip
# pint takes these for units, and people do not: a cat is no centi-technical-atmosphere
_OTHER_THINGS = (
    "unit cat bars point hand bag rod chain link nail slug stone count turn pin set mark sheet "
    "barn are table pole perch span drop pig bit face pack page line item part player game case "
    "cord hat pat pet pant at as a em beat skein lot dot can circle cycle revolution times mat "
    "cable"
)
NO_MEASURES = set(_OTHER_THINGS.split())
# Words that make a number part of a larger statement
_SAYING = (
    "pi sqrt sin cos tan log ln exp and or over times plus minus mod if not but cdot divided "
    "base pm dots infty is was are then i e isn wasn cannot never wrong maybe no than when "
    "because since so that which either nor except below halved negative factorial inverse "
    "doubled odd something x y frac for to"
)
NEVER_IN_UNITS = set(_SAYING.split())
