// One answer as a card: what was graded, its rewards, the text, and the reviewer's mark.

import { canReview, get, review } from "./api.js";
import { decimal, h, isNumber, plural, replace, whole } from "./dom.js";
import { plain, rendered, spelled, visible } from "./text.js";

const MARKS = [["right", "right"], ["wrong", "wrong"], ["unsure", "unsure"]];
let plainEverywhere = false;

/** Whether answers are shown as plain text; turned by "t" for all, by a button for one. */
export const showPlain = (value) => (value === undefined ? plainEverywhere : (plainEverywhere = value));

/** A card; `options`: {title, onDiff}. The element has `.sample`, `.mark(name)`, `.toggle()`. */
export function sampleCard(sample, options = {}) {
  let isPlain = plainEverywhere;
  const body = h("div", { class: "answer" });
  const show = () => replace(body, isPlain ? plain(sample.completion, sample.extracted) : rendered(sample.completion, sample.extracted), rest());
  const rest = () => sample.cut > 0 && h("button", { type: "button", class: "more", onclick: wholeText },
    `${whole(sample.cut)} more characters`);
  async function wholeText() {
    const all = await get("sample", { log: sample.key, line: sample.line });
    Object.assign(sample, { completion: all.completion, cut: 0 });
    show();
  }
  const plainButton = h("button", { type: "button", onclick: () => card.toggle() });
  const reviewed = reviewPart(sample);
  const card = h("article", { class: `card ${statusClass(sample)}`, tabindex: "-1", "data-index": sample.sample_index },
    h("header", {},
      options.title && h("strong", {}, options.title),
      h("span", { class: `status ${statusClass(sample)}` }, statusWord(sample)),
      sample.finish_reason === "length" && h("span", { class: "status warn", title: "it hit the token limit" }, "truncated"),
      h("span", { class: "quiet" }, plural(sample.num_tokens, "token")),
      isNumber(sample.advantage) && h("span", { class: "quiet" }, `advantage ${decimal(sample.advantage)}`),
      h("span", { class: "buttons" },
        plainButton,
        options.onDiff && h("button", { type: "button", class: "diff", title: "compare with another answer (d)", onclick: () => options.onDiff(sample, card) }, "diff"))),
    rewards(sample),
    sample.extracted !== null && sample.extracted !== undefined &&
      h("p", { class: "extracted" }, "extracted: ", h("code", { dir: "auto" }, visible(String(sample.extracted)))),
    body,
    reviewed);
  card.sample = sample;
  card.mark = (name) => reviewed?.set(name);
  card.note = () => reviewed?.openNote();
  card.toggle = (value = !isPlain) => {
    isPlain = value;
    plainButton.textContent = isPlain ? "rendered" : "plain";
    plainButton.setAttribute("aria-pressed", String(isPlain));
    show();
  };
  card.toggle(isPlain);
  return card;
}

export function statusClass(sample) {
  if (sample.correct === true) return "good";
  if (sample.correct === false && (sample.status === "wrong" || !sample.status)) return "bad";
  return "warn";
}

const statusWord = (sample) => spelled((sample.status ?? (sample.correct === true ? "right" : sample.correct === false ? "not right" : "ungraded")).replace("_", " "));

function rewards(sample) {
  const parts = Object.entries(sample.parts ?? {});
  return h("dl", { class: "rewards" },
    isNumber(sample.score) && h("div", { class: "total" }, h("dt", {}, "score"), h("dd", {}, decimal(sample.score, 3))),
    parts.map(([name, value]) => h("div", {}, h("dt", { dir: "auto" }, visible(name)), h("dd", {}, value === null ? "–" : decimal(value, 3)))));
}

function reviewPart(sample) {
  if (!canReview() && !sample.review) return null;
  const box = h("footer", { class: "review" });
  const failed = h("span", { class: "error", role: "alert" });
  let noteOpen = false;
  async function save(mark, note) {
    try {
      sample.review = await review({
        key: sample.key, line: sample.line, example_id: sample.example_id,
        sample_index: sample.sample_index, step: sample.step ?? null, mark, note,
      });
      failed.textContent = "";
    } catch (error) {
      failed.textContent = error.message;
    }
    show();
  }
  function show() {
    const { mark = null, note = "", other_answer: other = false } = sample.review ?? {};
    if (!canReview()) {
      replace(box, "reviewer: ", h("strong", {}, mark ?? "note"), " ", visible(note), other && " (of another answer)");
      return;
    }
    const input = h("textarea", { rows: 2, "aria-label": "note", placeholder: "note", value: note, maxlength: 4000, onchange: () => save(sample.review?.mark ?? null, input.value) });
    replace(box,
      h("span", { class: "quiet" }, "your mark"),
      MARKS.map(([name, word]) => h("button", {
        type: "button", class: `mark-${name}`, "aria-pressed": String(mark === name),
        onclick: () => save(mark === name ? null : name, note),
      }, word)),
      h("button", { type: "button", "aria-expanded": String(noteOpen), onclick: () => { noteOpen = !noteOpen; show(); } }, note ? "note ✓" : "note"),
      other && h("span", { class: "status warn" }, "the mark was of another answer"),
      (noteOpen || note) && input,
      failed);
    if (noteOpen && !note) input.focus();
  }
  box.set = (name) => canReview() && save(sample.review?.mark === name ? null : name, sample.review?.note ?? "");
  box.openNote = () => { noteOpen = true; show(); box.querySelector("textarea")?.focus(); };
  show();
  return box;
}
