"""The review page as one HTML file: its modules, styles and data in a single document.

The modules are plain ES modules with nothing but named imports from each other; here each becomes a
function that returns its exports, dependencies first. The document's policy allows
exactly these scripts and styles, by their digests, so data in it cannot become code.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

from groupwise.evaluation.log.jsonl import clean

STATIC = Path(__file__).with_name("static")
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w]+\.js)";$', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let)", re.M)
_NAME = re.compile(r"^export (?:(?:async )?function|const|let) (\w+)", re.M)


def page(data: dict[str, Any], title: str) -> str:
    """The whole document; `data` is what local.js answers from."""
    # Formulas as MathML: the browser's own fonts set them, so none need be carried along.
    scripts = [
        'globalThis.groupwiseMathOutput = "mathml";',
        _static("vendor/katex/katex.min.js"),
        _static("vendor/jsdiff/diff.min.js"),
        modules(),
    ]
    style = _static("app.css")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_digest, scripts))}; "
        f"style-src {_digest(style)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    code = "\n".join(f'<script type="module">{script}</script>' for script in scripts)
    code = code.replace('<script type="module">', "<script>", 3)  # libraries are plain scripts
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page needs JavaScript; it loads nothing and sends nothing.</noscript>
<script type="application/json" id="groupwise-data">{embedded(data)}</script>
{code}
</body>
</html>
"""


def embedded(data: dict[str, Any]) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    text = json.dumps(clean(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def modules() -> str:
    """All modules as one script."""
    done: dict[str, str] = {}
    _add_module("app.js", done)
    return "const modules = {};\n" + "\n".join(done.values())


def _add_module(name: str, done: dict[str, str]) -> None:
    source = _static(f"js/{name}")
    done_before = set(done)
    for _, needed in _IMPORT.findall(source):
        if needed not in done:
            _add_module(needed, done)
    assert name not in set(done) - done_before, f"{name} imports itself by way of others"
    exports = ", ".join(_NAME.findall(source))
    body = _EXPORT.sub("", source)
    body = _IMPORT.sub(
        lambda found: f'const {{{found[1].replace(" as ", ": ")}}} = modules["{found[2]}"];', body
    )
    done[name] = f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();'


def _static(name: str) -> str:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert "</script" not in text.lower()
    assert "</style" not in text.lower()
    return text


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"
