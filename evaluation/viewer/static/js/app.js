// The page's frame: which view is shown, which logs it is about, keys, light and dark, live data.

import { canReview, get, useLocal } from "./api.js";
import { h, replace } from "./dom.js";
import { localAnswers } from "./local.js";
import { overview } from "./overview.js";
import { cardKeys, problem, togglePlain } from "./problem.js";
import { problems } from "./problems.js";
import { queue } from "./queue.js";
import { address, current, go, logsOf } from "./route.js";
import { spelled, visible } from "./text.js";
import { training } from "./training.js";

const views = { overview, problems, problem, training, queue };
const TABS = ["overview", "problems", "training", "queue"];
const LOOK_EVERY_MS = 2000;

const main = h("main", { id: "main", tabindex: "-1" });
const tabs = h("nav", { class: "tabs", "aria-label": "views" });
const chooser = h("div", { class: "chooser" });
const state = h("span", { class: "state quiet", role: "status" });
let status = { logs: [], parts: [], version: -1 };
let failed = false; // the view could not be shown; its log may still be coming
let shown = 0; // counts navigations, so that a slow answer does not replace a newer view

async function start() {
  const embedded = document.getElementById("groupwise-data");
  if (embedded) useLocal(localAnswers(JSON.parse(embedded.textContent)));
  setTheme(remembered("groupwise-theme"));
  document.body.append(
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "to the content"),
    h("header", { class: "top" }, h("strong", { class: "brand" }, "Groupwise"), tabs, chooser, state,
      h("button", { type: "button", title: "light or dark", "aria-label": "light or dark", onclick: turnTheme }, "◐"),
      h("button", { type: "button", title: "keyboard (?)", "aria-label": "keyboard", onclick: help }, "?")),
    main);
  window.addEventListener("hashchange", () => show());
  document.addEventListener("keydown", onKey);
  await look();
  await show();
  if (canReview()) setInterval(look, LOOK_EVERY_MS);
}

/** Asks how far the logs are read; shows new data where that does not disturb reading. */
async function look() {
  try {
    const before = status.version;
    status = await get("status");
    showState();
    if (before >= 0 && status.version !== before) {
      drawChooser(current());
      const view = views[current().view];
      const mine = shown;
      const grown = view.refresh && !failed && main.dataset.view === current().view &&
        await view.refresh(main, { ...current(), isWanted: () => mine === shown }).catch(() => false);
      const inUse = main.contains(document.activeElement?.closest("select, textarea"));
      if (!grown && (failed || view.live) && !inUse) await show({ quietly: true });
    }
  } catch {
    state.textContent = "the server is gone";
    state.classList.add("error");
  }
}

function showState() {
  const total = status.logs.reduce((sum, log) => sum + log.bytes, 0);
  const read = status.logs.reduce((sum, log) => sum + log.read, 0);
  const broken = status.logs.reduce((sum, log) => sum + log.broken, 0);
  const wrong = status.logs.find((log) => log.error);
  const left = broken ? `; ${broken} broken lines left out` : "";
  state.classList.toggle("error", Boolean(wrong || status.broken));
  if (status.note) state.textContent = status.note;
  else if (wrong) state.textContent = `${spelled(wrong.key)}: ${spelled(wrong.error)}`;
  else if (!status.ready) state.textContent = `reading ${total ? Math.floor((100 * read) / total) : 0} %`;
  else if (!status.searchable) state.textContent = "preparing search";
  else if (status.broken) state.textContent = `${spelled(status.broken)}${left}`;
  else state.textContent = left.slice(2);
}

async function show({ quietly = false } = {}) {
  const mine = ++shown;
  const now = current();
  if (!quietly) document.querySelector("dialog[open]")?.remove();
  const view = views[now.view];
  drawTabs(now);
  drawChooser(now);
  const place = quietly ? window.scrollY : 0;
  if (!quietly) main.setAttribute("aria-busy", "true");
  // Views draw into a stage of their own: a slow one must not overwrite what came after it. The list
  // keeps its form, in which somebody may be typing, and asks whether it is still wanted.
  const stage = view.keepsForm && now.view === main.dataset.view ? main : h("div", {});
  try {
    await view.show(stage, { ...now, status, isWanted: () => mine === shown });
  } catch (error) {
    if (mine !== shown) return;
    failed = true;
    const reading = !status.ready && "The logs are still being read: this page tries again. ";
    replace(main, h("p", { class: "error", role: "alert" }, reading, visible(error.message)));
    return;
  } finally {
    main.removeAttribute("aria-busy");
  }
  if (mine !== shown) return;
  failed = false;
  if (stage !== main) replace(main, ...stage.childNodes);
  main.dataset.view = now.view;
  document.title = `${view.title} · Groupwise`;
  if (quietly) window.scrollTo(0, place);
  else view.shown?.(main, now);
}

function drawTabs({ view, params }) {
  const here = view === "problem" ? "problems" : view;
  replace(tabs, TABS.map((name) => h("a", {
    href: address(name, logsOf(params)), "aria-current": name === here ? "page" : null,
  }, views[name].title)));
}

/** Which evaluations are compared: one box each, in the order in which they were made. */
function drawChooser({ view, params }) {
  const known = status.logs.filter((log) => log.kind === "samples" && log.samples > 0);
  if (known.length < 2 || !["problems", "problem", "queue"].includes(view)) {
    replace(chooser);
    return;
  }
  if (chooser.querySelector("details[open]")) return;
  const wanted = params.getAll("log").filter((key) => known.some((log) => log.key === key));
  const run = known.filter((log) => log.run === known[0].run);
  const chosen = wanted.length ? wanted : [...new Set([run[0].key, run.at(-1).key])];
  const boxes = known.map((log) => {
    const box = h("input", { type: "checkbox", value: log.key, checked: chosen.includes(log.key) });
    return h("label", { class: "check" }, box, visible(log.key));
  });
  const list = h("details", {}, h("summary", { title: "which evaluations are compared" }, visible(chosen.map(shortName).join(" → "))),
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      const picked = boxes.map((label) => label.querySelector("input")).filter((box) => box.checked).map((box) => box.value);
      list.open = false;
      go(view, params, { log: picked, page: null, at: null, diff: null });
    } }, boxes, h("button", { type: "submit" }, "show")));
  replace(chooser, list);
}

function shortName(key) {
  const runs = new Set(status.logs.map((log) => log.run));
  return runs.size > 1 ? key : key.slice(key.indexOf("/") + 1);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const view = views[current().view];
  const items = view.items?.(main) ?? [];
  const at = items.indexOf(document.activeElement?.closest("article.card, tbody tr"));
  const card = items[at]?.matches("article.card") ? items[at] : null;
  const acts = {
    j: () => focus(items[Math.min(at + 1, items.length - 1)]),
    k: () => focus(items[Math.max(at - 1, 0)]),
    "/": () => search(),
    "?": () => help(),
    t: () => togglePlain(main),
    ...Object.fromEntries(Object.entries(view.keys ?? {}).map(([key, act]) => [key, () => act(main)])),
    ...(card ? Object.fromEntries(Object.entries(cardKeys).map(([key, act]) => [key, () => act(card)])) : {}),
  };
  if ((event.key === "Enter" || event.key === "o") && at >= 0 && view.open && event.target === items[at]) acts[event.key] = () => view.open(items[at]);
  if (acts[event.key]) {
    event.preventDefault();
    acts[event.key]();
  }
}

function focus(item) {
  item?.focus({ preventScroll: true });
  item?.scrollIntoView({ block: "nearest" });
}

async function search() {
  const { params, view } = current();
  if (view !== "problems") {
    go("problems", logsOf(params));
    await new Promise((done) => { setTimeout(done, 0); });
    await show();
  }
  main.querySelector("input[type=search]")?.focus();
}

function help() {
  const rows = [
    ["j, k", "next, previous row or answer"], ["Enter", "open the row"], ["n, p", "next, previous problem or step"], ["u", "back to the list"],
    ["/", "search"], ["t", "answers as plain text, or rendered"], ["d", "compare this answer with the next one chosen"],
    ...(canReview() ? [["1, 2, 3", "mark right, wrong, unsure; again takes it back"], ["e", "note"]] : []), ["?", "this list"],
  ];
  const dialog = h("dialog", { "aria-label": "keyboard" },
    h("header", {}, h("strong", {}, "Keyboard"), h("button", { type: "button", onclick: () => dialog.close() }, "close")),
    h("table", {}, rows.map(([keys, text]) => h("tr", {}, h("th", {}, h("kbd", {}, keys)), h("td", {}, text)))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function setTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

function turnTheme() {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  setTheme(next);
  try {
    localStorage.setItem("groupwise-theme", next);
  } catch { /* a page opened from disk may not remember */ }
}

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

start();
