// One problem: the prompt as the model saw it, the reference, and all answers side by side.

import { get } from "./api.js";
import { difference } from "./diff.js";
import { h, percent, plural, replace, whole } from "./dom.js";
import { listParams } from "./problems.js";
import { address, current } from "./route.js";
import { sampleCard, showPlain } from "./sample.js";
import { spelled, visible } from "./text.js";

let chosen = null; // the first of two answers to compare

export const problem = {
  title: "Problem",
  live: true,
  async show(main, { params }) {
    const [data, near] = await ask(params);
    chosen = null;
    replace(main,
      heading(data, near, params),
      question(data),
      h("div", { class: "sides" }, data.logs.map((side) => sideColumn(side, params))));
  },
  /**
   * Adds the answers that have come since: whoever reads, folds or writes a note is not disturbed.
   * False if there is more to draw anew, another log for instance.
   */
  async refresh(main, { params, isWanted }) {
    const [data] = await ask(params);
    if (!isWanted()) return true;
    const columns = [...main.querySelectorAll(".side")];
    if (data.logs.map((side) => side.key).join() !== columns.map((column) => column.key).join()) return false;
    data.logs.forEach((side, i) => columns[i].grow(side));
    return true;
  },
  shown: (main, { params }) => {
    focusOn(main, params.get("focus"));
    showAddressed(main, params);
  },
  items: (main) => [...main.querySelectorAll("article.card")],
  keys: {
    n: (main) => main.querySelector("a[rel=next]")?.click(),
    p: (main) => main.querySelector("a[rel=prev]")?.click(),
    u: (main) => main.querySelector("a.up-link")?.click(),
  },
};

function ask(params) {
  const asked = { log: params.getAll("log"), id: params.get("id") ?? "", first: params.get("first") ?? 0 };
  return Promise.all([get("problem", asked), neighbours(params)]);
}

async function neighbours(params) {
  if (params.get("at") === null) return {};
  const at = Number(params.get("at")) | 0;
  const query = listParams(params);
  query.set("offset", Math.max(0, at - 1));
  query.set("limit", at > 0 ? 3 : 2);
  try {
    const { rows, total } = await get("problems", query);
    const shift = at > 0 ? 1 : 0;
    return { at, total, before: at > 0 ? rows[0] : null, after: rows[shift + 1] };
  } catch {
    return {};
  }
}

function heading(data, near, params) {
  const list = address("problems", params, { id: null, at: null, first: null, focus: null, diff: null, page: near.at >= 50 ? Math.floor(near.at / 50) : null });
  const step = (row, at, rel, text, key) => row
    ? h("a", { rel, href: address("problem", params, { id: row.id, at, first: null, focus: null, diff: null }), title: key }, text)
    : h("span", { class: "quiet" }, text);
  return h("div", { class: "heading" },
    h("a", { class: "up-link", href: list }, "← problems"),
    h("h2", { dir: "auto" }, visible(data.id)),
    near.total > 0 && h("nav", { "aria-label": "neighbouring problems" },
      step(near.before, near.at - 1, "prev", "previous", "p"), h("span", { class: "quiet" }, `${whole(near.at + 1)} of ${whole(near.total)}`), step(near.after, near.at + 1, "next", "next", "n")));
}

function question(data) {
  const several = data.prompts.length > 1;
  const metadata = Object.entries(data.metadata ?? {});
  return h("section", { class: "question-box" },
    data.prompts.map(({ prompt, logs }) => h("details", { open: true },
      h("summary", {}, "Prompt", several && ` in ${spelled(logs.join(", "))}`),
      h("div", { class: "text plain prompt", dir: "auto" }, visible(prompt)))),
    several && h("p", { class: "status warn" }, "These logs asked this problem with different prompts."),
    h("p", {}, "Reference: ", h("code", { class: "reference", dir: "auto" }, visible(String(data.answer ?? "")))),
    metadata.length > 0 && h("details", {}, h("summary", {}, "Metadata"), h("dl", { class: "rewards" }, metadata.map(([name, value]) =>
      h("div", {}, h("dt", {}, visible(name)), h("dd", { dir: "auto" }, visible(typeof value === "string" ? value : JSON.stringify(value))))))));
}

function sideColumn(side, params) {
  const first = Number(params.get("first") ?? 0) | 0;
  const page = (to, text) => h("a", { href: address("problem", params, { first: to || null, diff: null }) }, text);
  const title = h("h3", {}), pager = h("div", {});
  const column = h("section", { class: "side" }, title, pager);
  const cards = new Map();
  column.key = side.key;
  /** Shows the counts of `now`, and those of its answers that are not here yet, each in its place. */
  column.grow = (now) => {
    const right = now.samples.filter((x) => x.correct === true).length;
    const shown = now.samples.length;
    replace(title, visible(now.key), " ", h("span", { class: "quiet" }, shown ? `${right} of ${shown} right` : "no answers",
      shown > 0 && ` · ${percent(right / shown)}`));
    let before = title;
    for (const sample of now.samples) {
      if (!cards.has(sample.line)) {
        cards.set(sample.line, sampleCard(sample, { title: `#${sample.sample_index}`, onDiff: choose }));
        before.after(cards.get(sample.line));
      }
      before = cards.get(sample.line);
    }
    replace(pager, now.total > shown && h("p", { class: "pager" }, `${first + 1}–${first + shown} of ${plural(now.total, "answer")} `,
      first > 0 && page(Math.max(0, first - 64), "earlier"), " ", first + shown < now.total && page(first + shown, "more")));
  };
  column.grow(side);
  return column;
}

/** The first call remembers an answer, the second goes to where the two are compared. */
export function choose(sample, card) {
  if (chosen && chosen.card === card) {
    card.classList.remove("chosen");
    chosen = null;
    return;
  }
  if (!chosen || !chosen.card.isConnected) {
    chosen = { sample, card };
    card.classList.add("chosen");
    return;
  }
  chosen.card.classList.remove("chosen");
  const { view, params } = current();
  history.replaceState(null, "", address(view, params, { diff: [nameOf(chosen.sample), nameOf(sample)] }));
  showDifference(chosen.sample, sample);
  chosen = null;
}

/** An answer in an address: its log, and its line there, which stays what it is as the log grows. */
const nameOf = (sample) => `${sample.key}:${sample.line}`;

/** Shows the comparison that the address names, if its answers are on this page. */
export function showAddressed(main, params) {
  const names = params.getAll("diff");
  if (names.length !== 2) return;
  const samples = names.map((name) => [...main.querySelectorAll("article.card")].find((card) => nameOf(card.sample) === name)?.sample);
  if (samples.every(Boolean)) showDifference(...samples);
}

async function wholeSample(sample) {
  return sample.cut > 0 ? { ...sample, ...(await get("sample", { log: sample.key, line: sample.line })) } : sample;
}

async function differenceOf(a, b) {
  try {
    const [first, second] = (await Promise.all([wholeSample(a), wholeSample(b)])).map((x) => x.completion);
    if (first === second) return h("p", {}, "The two answers are the same.");
    return difference(first, second) ?? h("p", {}, "These answers are too long and too different to compare.");
  } catch (error) {
    return h("p", { class: "error", role: "alert" }, "The answers could not be fetched: ", visible(error.message));
  }
}

async function showDifference(a, b) {
  const name = (x) => `${spelled(x.key)} #${x.sample_index}${x.step ? ` step ${x.step}` : ""}`;
  const dialog = h("dialog", { class: "wide-dialog", "aria-label": "difference" },
    h("header", {}, h("strong", {}, h("del", {}, name(a)), " → ", h("ins", {}, name(b))),
      h("button", { type: "button", onclick: () => dialog.close() }, "close")),
    await differenceOf(a, b));
  dialog.addEventListener("close", () => {
    dialog.remove();
    const { view, params } = current();
    if (params.has("diff")) history.replaceState(null, "", address(view, params, { diff: null }));
  });
  document.body.append(dialog);
  dialog.showModal();
}

function focusOn(main, index) {
  if (index === null) return;
  const [key, number] = [index.slice(0, index.lastIndexOf("#")), index.slice(index.lastIndexOf("#") + 1)];
  const card = [...main.querySelectorAll("article.card")].find((c) => c.sample.key === key && String(c.sample.sample_index) === number);
  card?.focus();
  card?.scrollIntoView({ block: "center" });
}

/** Keys that act on the answer in focus, wherever answers are shown. */
export const cardKeys = {
  d: (card) => card.querySelector("button.diff")?.click(),
  1: (card) => card.mark("right"),
  2: (card) => card.mark("wrong"),
  3: (card) => card.mark("unsure"),
  e: (card) => card.note(),
};

export function togglePlain(main) {
  const value = !showPlain();
  showPlain(value);
  for (const card of main.querySelectorAll("article.card")) card.toggle(value);
}

