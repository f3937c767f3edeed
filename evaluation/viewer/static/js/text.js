// A model's text on the page: controls made visible, thoughts foldable, mathematics set, and the
// extracted answer marked. Everything becomes text nodes, or what KaTeX builds from nodes.

import { h } from "./dom.js";

// C0 and C1 controls, and what turns text around or hides in it. Joiners are left to the scripts
// and emoji that need them.
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5" +
  "\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb" +
  "\\u{e0000}-\\u{e0fff}]", "gu");
const MARKS = /\p{M}{5,}/gu; // towers of combining marks

const LONGEST_FORMULA = 2000;
const MOST_FORMULAS = 200;
const FOLDED_FROM = 600;

/** Nodes that show all of the text, its invisible characters spelled out. */
export function visible(text) {
  const nodes = [];
  let from = 0;
  const trimmed = text.replace(MARKS, (found) => [...found].slice(0, 4).join(""));
  for (const found of trimmed.matchAll(HIDDEN)) {
    if (found.index > from) nodes.push(trimmed.slice(from, found.index));
    const code = found[0].codePointAt(0).toString(16).padStart(4, "0");
    nodes.push(h("span", { class: "control", title: `U+${code.toUpperCase()}` }, `\\u${code}`));
    from = found.index + found[0].length;
  }
  if (from < trimmed.length) nodes.push(trimmed.slice(from));
  return nodes;
}

/** Text for a single line, where no element can stand: titles, options. */
export function spelled(text) {
  return String(text).replace(HIDDEN, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

/** An answer, set for reading; `extracted` is marked where the grader will have found it. */
export function rendered(text, extracted) {
  const mark = findExtracted(text, extracted);
  const budget = { formulas: MOST_FORMULAS };
  const out = h("div", { class: "text", dir: "auto" });
  for (const part of thoughts(text)) {
    const nodes = withMath(text, part.from, part.to, mark, budget);
    if (!part.thought) {
      out.append(...nodes);
      continue;
    }
    const size = part.to - part.from;
    const fold = h("details", { class: "think" },
      h("summary", {}, part.open ? "thinking, unfinished" : "thinking",
        h("span", { class: "quiet" }, ` ${size.toLocaleString("en")} characters`)),
      h("div", {}, nodes));
    fold.open = size < FOLDED_FROM;
    out.append(fold);
  }
  return out;
}

/** The answer as it was written, character by character. */
export function plain(text, extracted) {
  const mark = findExtracted(text, extracted);
  return h("div", { class: "text plain", dir: "auto" }, marked(text, 0, text.length, mark));
}

/** [from, to) of the extracted answer: its last place behind the thoughts, a marked one first. */
export function findExtracted(text, extracted) {
  if (!extracted) return null;
  const start = text.lastIndexOf("</think>") + 1;
  for (const [before, after] of [["<answer>", "</answer>"], ["\\boxed{", "}"], ["#### ", ""], ["", ""]]) {
    const at = text.lastIndexOf(before + extracted + after);
    if (at >= start) return { from: at + before.length, to: at + before.length + extracted.length };
  }
  return null;
}

/** Parts of the text in order: {from, to, thought, open}. */
function thoughts(text) {
  const parts = [];
  let from = 0;
  const firstClose = text.indexOf("</think>");
  const firstOpen = text.indexOf("<think>");
  if (firstClose >= 0 && (firstOpen < 0 || firstClose < firstOpen)) {
    parts.push({ from, to: firstClose, thought: true }); // the template had opened it
    from = firstClose + 8;
  }
  while (from < text.length) {
    const open = text.indexOf("<think>", from);
    if (open < 0) break;
    if (open > from) parts.push({ from, to: open });
    const close = text.indexOf("</think>", open);
    const to = close < 0 ? text.length : close;
    parts.push({ from: open + 7, to, thought: true, open: close < 0 });
    from = close < 0 ? text.length : close + 8;
  }
  if (from < text.length) parts.push({ from, to: text.length });
  return parts;
}

function marked(text, from, to, mark) {
  if (!mark || mark.to <= from || mark.from >= to) return visible(text.slice(from, to));
  const a = Math.max(from, mark.from);
  const b = Math.min(to, mark.to);
  return [
    ...visible(text.slice(from, a)),
    h("mark", { title: "the extracted answer" }, visible(text.slice(a, b))),
    ...visible(text.slice(b, to)),
  ];
}

function withMath(text, from, to, mark, budget) {
  const nodes = [];
  let at = from;
  for (const formula of formulas(text, from, to)) {
    if (budget.formulas-- <= 0) break;
    const node = set(text.slice(formula.inner[0], formula.inner[1]), formula.display);
    if (!node) continue;
    nodes.push(...marked(text, at, formula.from, mark));
    const holdsMark = mark && mark.from >= formula.from && mark.to <= formula.to;
    nodes.push(holdsMark ? h("mark", { title: "the extracted answer" }, node) : node);
    at = formula.to;
  }
  nodes.push(...marked(text, at, to, mark));
  return nodes;
}

const PAIRS = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false]];

/** Formulas of text[from, to), from left to right: {from, to, inner, display}. */
function* formulas(text, from, to) {
  const START = /\$\$|\\\[|\\\(|\$|\\boxed\{|\\begin\{(?:align|equation|gather|cases|[bpv]?matrix)\*?\}/g;
  START.lastIndex = from;
  for (let found = START.exec(text); found && found.index < to; found = START.exec(text)) {
    const formula = formulaAt(text, found.index, found[0], to);
    if (formula) {
      yield formula;
      START.lastIndex = formula.to;
    }
  }
}

function formulaAt(text, from, opening, to) {
  const start = from + opening.length;
  const pair = PAIRS.find(([open]) => open === opening);
  const last = Math.min(to, start + LONGEST_FORMULA);
  if (pair) {
    const end = text.indexOf(pair[1], start);
    if (end <= start || end >= last) return null;
    return { from, to: end + pair[1].length, inner: [start, end], display: pair[2] };
  }
  if (opening === "$") {
    // "$5 and $10" are prices: a formula has no space inside its marks, and no digit behind them.
    const end = text.indexOf("$", start);
    if (end <= start || end >= last || /\s/.test(text[start]) || /\s/.test(text[end - 1])) return null;
    if (/\d/.test(text[end + 1] ?? "") || text.slice(start, end).includes("\n\n")) return null;
    return { from, to: end + 1, inner: [start, end], display: false };
  }
  if (opening === "\\boxed{") {
    let depth = 1;
    for (let i = start; i < last; i++) {
      if (text[i] === "{") depth++;
      if (text[i] === "}" && --depth === 0) return { from, to: i + 1, inner: [from, i + 1], display: false };
    }
    return null;
  }
  const closing = opening.replace("begin", "end");
  const end = text.indexOf(closing, start);
  if (end < 0 || end >= last) return null;
  return { from, to: end + closing.length, inner: [from, end + closing.length], display: true };
}

/** The formula as KaTeX sets it; null where it cannot, and the text then stays as it is. */
function set(tex, displayMode) {
  if (!globalThis.katex || tex.search(HIDDEN) >= 0) return null;
  const node = h("span", { class: displayMode ? "formula display" : "formula" });
  node.title = tex;
  try {
    globalThis.katex.render(tex, node, {
      displayMode, output: globalThis.groupwiseMathOutput ?? "html", throwOnError: true, trust: false,
      strict: "ignore", maxSize: 10, maxExpand: 200,
    });
  } catch {
    return null;
  }
  return node;
}
