// The list of problems: filters above, one page of rows below.

import { get } from "./api.js";
import { decimal, h, isNumber, percent, plural, replace, signed, whole } from "./dom.js";
import { address, go } from "./route.js";
import { spelled, visible } from "./text.js";

export const PAGE = 50;
const FILTERS = ["q", "regex", "scope", "status", "change", "finish", "mark", "field", "value", "score_min", "score_max", "tokens_min", "tokens_max"];
const LIST = [...FILTERS, "sort", "reverse"];

/** The parameters that decide which problems are listed and how: handed to the server as they are. */
export function listParams(params) {
  const kept = new URLSearchParams();
  for (const name of ["log", ...LIST]) for (const value of params.getAll(name)) kept.append(name, value);
  return kept;
}

export const problems = {
  title: "Problems",
  live: true,
  keepsForm: true,
  async show(main, { params, isWanted }) {
    const page = Math.max(0, Number(params.get("page") ?? 0) | 0);
    const query = listParams(params);
    query.set("offset", page * PAGE);
    query.set("limit", PAGE);
    const form = main.querySelector("form.filters") ?? await filterForm();
    fillForm(form, params);
    const results = h("div", { class: "results" });
    let data;
    try {
      data = await get("problems", query);
      if (!isWanted()) return;
    } catch (error) {
      replace(main, form, h("p", { class: "error", role: "alert" }, visible(error.message)));
      return;
    }
    const waiting = params.get("q") && !data.searchable;
    replace(results,
      h("p", { class: "count", role: "status" }, plural(data.total, "problem"),
        waiting && h("span", { class: "status warn" }, " the texts are still being read: more may come")),
      data.total > 0 ? table(data, params) : h("p", { class: "empty" }, "No problem fits these filters."),
      pager(data, page, params));
    if (form.parentNode === main) {
      while (form.nextSibling) form.nextSibling.remove();
      main.append(results);
    } else {
      replace(main, form, results);
    }
  },
  items: (main) => [...main.querySelectorAll("tbody tr")],
  open: (row) => row.querySelector("a")?.click(),
};

async function filterForm() {
  const categories = await get("categories");
  const select = (name, label, options) => h("label", {}, label, h("select", { name },
    h("option", { value: "" }, "all"), options.map(([value, text]) => h("option", { value }, text))));
  const number = (name, label) => h("input", { name, type: "number", step: "any", placeholder: label, "aria-label": `${name.replace("_", " ")}` });
  const fields = Object.entries(categories);
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => { event.preventDefault(); apply(); } },
    h("div", { class: "searchline" },
      h("input", { name: "q", type: "search", placeholder: "search answers and prompts   /", "aria-label": "search", maxlength: 1000 }),
      h("label", { class: "check", title: "regular expression (RE2)" }, h("input", { name: "regex", type: "checkbox", value: "1" }), "regex"),
      h("label", {}, "in", h("select", { name: "scope" }, [["both", "answers and prompts"], ["answers", "answers"], ["prompts", "prompts"]].map(([v, t]) => h("option", { value: v }, t)))),
      h("button", { type: "button", class: "reset", onclick: reset }, "reset")),
    h("details", { class: "more-filters", open: window.innerWidth > 700 }, h("summary", {}, "filters"),
      h("div", { class: "row" },
        select("change", "change", [["any", "any change"], ["won", "better"], ["lost", "worse"], ["newly_solved", "newly solved"], ["no_longer_solved", "no longer solved"], ["unsolved", "never solved"], ["always", "always solved"], ["mixed", "sometimes solved"]]),
        select("status", "an answer is", ["correct", "wrong", "unparseable", "timeout", "bad_reference", "ungraded"].map((v) => [v, v.replace("_", " ")])),
        select("finish", "ended by", [["stop", "stop"], ["length", "token limit"]]),
        fields.length > 0 && h("label", {}, "category", h("select", { name: "category" }, h("option", { value: "" }, "all"),
          fields.map(([field, values]) => h("optgroup", { label: spelled(field) }, values.map((value) =>
            h("option", { value: JSON.stringify([field, value]) }, spelled(value))))))),
        select("mark", "your mark", [["any", "any"], ["none", "none"], ["right", "right"], ["wrong", "wrong"], ["unsure", "unsure"]]),
        h("span", { class: "range" }, "score", number("score_min", "from"), number("score_max", "to")),
        h("span", { class: "range" }, "tokens", number("tokens_min", "from"), number("tokens_max", "to")))));
  let timer;
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(apply, event.target.type === "search" || event.target.type === "number" ? 250 : 0);
  });
  function apply() {
    clearTimeout(timer);
    const { params } = form.now;
    const changes = { page: null };
    for (const name of FILTERS) {
      const field = form.elements[name];
      if (!field) continue;
      changes[name] = field.type === "checkbox" ? field.checked : field.value;
    }
    if (changes.scope === "both") changes.scope = null;
    const category = form.elements.category?.value;
    [changes.field, changes.value] = category ? JSON.parse(category) : [null, null];
    go("problems", params, changes, { quietly: true });
  }
  function reset() {
    go("problems", form.now.params, Object.fromEntries([...FILTERS, "page"].map((name) => [name, null])));
  }
  return form;
}

function fillForm(form, params) {
  form.now = { params };
  for (const name of FILTERS) {
    const field = form.elements[name];
    if (!field || field === document.activeElement) continue;
    if (field.type === "checkbox") field.checked = params.get(name) === "1";
    else field.value = params.get(name) ?? (name === "scope" ? "both" : "");
  }
  const category = form.elements.category;
  if (category) category.value = params.get("field") ? JSON.stringify([params.get("field"), params.get("value")]) : "";
}

function table(data, params) {
  const keys = data.logs;
  const two = keys.length > 1;
  const last = keys.at(-1);
  const label = (key) => spelled(key.split("/").slice(1).join("/") || key);
  const head = (sort, text, title) => {
    const now = (params.get("sort") ?? "flips") === sort;
    const reversed = params.get("reverse") === "1";
    const next = now ? { reverse: !reversed } : { sort, reverse: null };
    return h("th", { scope: "col", "aria-sort": now ? (reversed ? "ascending" : "descending") : null },
      h("a", { class: "sort", title, href: address("problems", params, { ...next, page: null }) }, text, now && (reversed ? " ↑" : " ↓")));
  };
  return h("div", { class: "scroll" }, h("table", { class: "list" },
    h("thead", {}, h("tr", {},
      head(two ? "flips" : "solved_after", two ? "flip" : "", two ? "newly solved and no longer solved first, then by the size of the change" : ""),
      head("question", "problem"),
      h("th", { class: "wide" }, "reference"),
      keys.map((key, i) => head(i === 0 && two ? "solved_before" : "solved_after", label(key), "share of right answers")),
      two && head("change", "change", "points"),
      head("score", "score", `mean score in ${label(last)}`),
      head("tokens", "tokens", `mean length in ${label(last)}`))),
    h("tbody", {}, data.rows.map((row, i) => problemRow(row, keys, address("problem", params, { id: row.id, at: data.offset + i, page: null }))))));
}

function problemRow(row, keys, href) {
  const first = row.logs[keys[0]], last = row.logs[keys.at(-1)];
  const two = keys.length > 1;
  const share = (x) => (x && x.right !== null && x.n ? x.right / x.n : null);
  const [a, b] = [share(first), share(last)];
  const delta = two && isNumber(a) && isNumber(b) ? b - a : null;
  const fields = Object.entries(row.fields ?? {}).map(([, value]) => value).slice(0, 3);
  return h("tr", { tabindex: "-1" },
    h("td", { class: "flip" }, flip(a, b, two)),
    h("td", { class: "question" }, h("a", { href, dir: "auto" }, visible(row.question || row.id)),
      h("span", { class: "quiet small" }, " ", visible([row.id, ...fields].join(" · ")))),
    h("td", { class: "wide", dir: "auto" }, visible(row.answer.slice(0, 60))),
    keys.map((key) => h("td", { class: "share" }, bar(row.logs[key], share(row.logs[key])))),
    two && h("td", { class: delta > 0 ? "up" : delta < 0 ? "down" : "" }, delta === null ? "–" : signed(delta)),
    h("td", {}, decimal(last?.score)),
    h("td", {}, whole(last?.tokens)));
}

function flip(a, b, two) {
  if (!two || !isNumber(a) || !isNumber(b) || (a === 0) === (b === 0)) return "";
  return b > 0
    ? h("span", { class: "status good", title: "newly solved" }, "new")
    : h("span", { class: "status bad", title: "no longer solved" }, "lost");
}

function bar(counts, share) {
  if (!counts) return "–";
  if (!isNumber(share)) return h("span", { class: "quiet" }, plural(counts.n, "answer"));
  return h("span", { class: "bar", title: `${counts.right} of ${counts.n} answers are right` },
    h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "level", "width%": 100 * share })),
    h("span", {}, `${counts.right}/${counts.n}`));
}

function pager(data, page, params) {
  const pages = Math.ceil(data.total / PAGE);
  if (pages < 2) return null;
  const link = (to, text, rel) => to >= 0 && to < pages
    ? h("a", { href: address("problems", params, { page: to || null }), rel }, text)
    : h("span", { class: "quiet" }, text);
  return h("nav", { class: "pager", "aria-label": "pages" },
    link(0, "first"), link(page - 1, "previous", "prev"), h("span", {}, `page ${page + 1} of ${whole(pages)}`), link(page + 1, "next", "next"), link(pages - 1, "last"));
}
