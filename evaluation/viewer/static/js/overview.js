// The first page: what tuning changed, curves of pass@k, training, findings.

import { get } from "./api.js";
import { chart } from "./chart.js";
import { CHARTS, bySet, curves, together } from "./runs.js";
import { decimal, h, percent, plural, replace, whole } from "./dom.js";
import { address } from "./route.js";
import { visible } from "./text.js";

export const overview = {
  title: "Overview",
  live: true,
  async show(main, { params }) {
    const data = await get("overview");
    if (!data.runs.length) {
      replace(main, h("p", { class: "empty" }, "There is no run here yet. This page looks again every few seconds."));
      return;
    }
    const several = data.runs.length > 1;
    replace(main,
      several && together(data, params),
      data.runs.map((run) => runSection(run, data.sets, params, several)));
  },
};

function runSection(run, sets, params, several) {
  const evaluations = run.evaluations;
  return h("section", { class: "run" },
    h("h2", { dir: "auto" }, visible(run.name)),
    (run.comparison?.pairs ?? []).map((pair) => verdict(pair, run, params)),
    evaluations.length > 0
      ? h("div", { class: "beside" }, h("div", {}, curves(evaluations, sets)), evaluationTable(evaluations, params, run))
      : h("p", { class: "quiet" }, "No evaluation yet."),
    bySet(evaluations).map(([set, members], _, all) => categories(members, all.length > 1 && plural(sets[set].problems, "problem"))),
    run.health.length > 0 && health(run.health), // in front of the curves, which look well too often
    run.training && training(run),
    several && h("hr", {}));
}

function verdict(pair, run, params) {
  const keys = [`${run.name}/${pair.base}`, `${run.name}/${pair.other}`];
  const to = (change) => address("problems", params, { log: keys, change, page: null });
  const count = (n, word, change) => n > 0 ? h("a", { href: to(change) }, `${whole(n)} ${word}`) : `0 ${word}`;
  return h("div", { class: "verdict" },
    h("p", {}, h("strong", {}, visible(`${pair.base} → ${pair.other}`)), ": ", visible(pair.verdict)),
    h("p", {}, "Problems: ", count(pair.num_won, "better", "won"), ", ", count(pair.num_lost, "worse", "lost"), `, ${whole(pair.num_unchanged)} as before; `,
      count(pair.newly_solved, "newly solved", "newly_solved"), ", ", count(pair.no_longer_solved, "no longer solved", "no_longer_solved"), ".",
      pair.crossing_k && ` The curves cross at k = ${pair.crossing_k}.`));
}

function evaluationTable(evaluations, params, run) {
  const ks = [...new Set(evaluations.flatMap((e) => e.curve.map((p) => p.k)))].sort((a, b) => a - b);
  const shown = ks.length > 4 ? [ks[0], ...ks.slice(-3)] : ks;
  const statuses = ["wrong", "unparseable", "timeout", "bad_reference", "ungraded"];
  const parts = [...new Set(evaluations.flatMap((e) => Object.keys(e.parts)))];
  const row = (name, value) => h("tr", {}, h("th", { scope: "row" }, name), evaluations.map((e) => h("td", {}, value(e))));
  const at = (e, k) => e.curve.find((p) => p.k === k);
  const share = (n, e) => (n ? `${whole(n)} (${percent(n / e.samples, 1)})` : "0");
  return h("div", { class: "scroll" }, h("table", { class: "figures" },
    h("thead", {}, h("tr", {}, h("th", {}), evaluations.map((e) => h("th", { scope: "col" },
      h("a", { href: address("problems", params, { log: e.key, page: null }) }, visible(e.label)))))),
    h("tbody", {},
      shown.map((k) => row(`pass@${k}`, (e) => { const p = at(e, k); return p ? [h("strong", {}, percent(p.value, 1)), h("span", { class: "quiet" }, ` [${percent(p.low, 1)}, ${percent(p.high, 1)}]`)] : "–"; })),
      row("problems", (e) => whole(e.problems)),
      row("answers", (e) => whole(e.samples)),
      row("solved at least once", (e) => whole(e.solved_once)),
      statuses.filter((name) => evaluations.some((e) => e.statuses[name])).map((name) =>
        row(name.replace("_", " "), (e) => e.statuses[name]
          ? h("a", { href: address("problems", params, { log: e.key, status: name, page: null }) }, share(e.statuses[name], e)) : "0")),
      row("truncated", (e) => share(e.truncated, e)),
      row("tokens, mean", (e) => decimal(e.mean_num_tokens, 1)),
      row("score, mean", (e) => decimal(e.mean_score, 3)),
      parts.map((name) => row(visible(name), (e) => decimal(e.parts[name], 3))))));
}

/** pass@1 by each field of the metadata; `on` says which problems, where there are others too. */
function categories(evaluations, on) {
  const fields = [...new Set(evaluations.flatMap((e) => Object.keys(e.by_category)))];
  return fields.map((field) => {
    const values = [...new Set(evaluations.flatMap((e) => (e.by_category[field] ?? []).map((v) => v.value)))];
    if (values.length < 2) return null;
    const of = (e, value) => (e.by_category[field] ?? []).find((v) => v.value === value);
    return h("div", { class: "scroll" }, h("table", { class: "figures" },
      h("caption", {}, "pass@1 by ", visible(field), on && `, ${on}`),
      h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, "problems"), evaluations.map((e) => h("th", {}, visible(e.label))))),
      h("tbody", {}, values.map((value) => h("tr", {}, h("th", { scope: "row" }, visible(value)),
        h("td", {}, whole(of(evaluations.at(-1), value)?.problems)), evaluations.map((e) => h("td", {}, percent(of(e, value)?.solved, 1))))))));
  });
}

function training(run) {
  const { columns, step, steps, averaged } = run.training;
  const has = (name) => (columns[name] ?? []).some((x) => x !== null);
  const series = (name, label = name) => ({ name: label, points: step.map((x, i) => ({ x, y: columns[name][i] })) });
  const partNames = Object.keys(columns).filter((n) => /^reward\/.+\/mean$/.test(n)).map((n) => n.slice(7, -5));
  const evaluated = Object.keys(columns).filter((n) => n.startsWith("eval/") && has(n));
  const charts = [
    has("reward/mean") && chart([series("reward/mean", "reward")], { title: "Reward" }),
    partNames.length > 0 && chart(partNames.map((n) => series(`reward/${n}/mean`, n)), { title: "Reward by component" }),
    ...CHARTS.map(([title, names, format]) => names.some(has) && chart(names.filter(has).map((n) => series(n, n.split("/").at(-1))), { title, format })),
    evaluated.length > 0 && chart(evaluated.map((n) => series(n, n.slice(5))), { title: "Evaluations during training" }),
  ];
  return h("div", {},
    h("h3", {}, "Training ", h("span", { class: "quiet" }, plural(steps, "step"), averaged > 1 && `, each point the mean of ${averaged}`),
      run.rollouts && [" ", h("a", { href: address("training", undefined, { log: run.rollouts }) }, "read its answers")]),
    h("div", { class: "charts" }, charts));
}

/** Lines of health.jsonl: {name, step, what, cause, remedy}; older or other ones by what they have. */
function health(findings) {
  const name = (found) => String(found.name ?? found.level ?? "note").replaceAll("_", " ");
  const text = (found) => ["what", "cause"].map((part) => found[part]).filter(Boolean).join(". ") ||
    String(found.message ?? JSON.stringify(found));
  return h("div", {}, h("h3", {}, "Findings"), h("ul", { class: "findings" }, findings.map((found) =>
    h("li", {}, h("span", { class: "status warn" }, visible(name(found))), " ",
      Number.isInteger(found.step) && h("span", { class: "quiet" }, `step ${found.step} `),
      h("span", { dir: "auto" }, visible(text(found))),
      found.remedy && h("span", { class: "quiet", dir: "auto" }, ". ", visible(String(found.remedy)))))));
}
