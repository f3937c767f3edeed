// Several runs together: pass@k on each set of problems, and one metric of all trainings.

import { chart } from "./chart.js";
import { h, isNumber, percent, plural, replace } from "./dom.js";
import { address } from "./route.js";
import { spelled, visible } from "./text.js";

const MOST = 24; // lines that can be told apart in one chart

/** The charts of a training: [title, columns of metrics.jsonl, format]. */
export const CHARTS = [
  ["Right answers", ["correct"], (x) => percent(x)],
  ["KL to the base model", ["kl_divergence"]],
  ["Length in tokens", ["completion_length/mean", "completion_length/max"]],
  ["Truncated", ["truncated"], (x) => percent(x)],
  ["Groups without variance", ["zero_variance_groups"], (x) => percent(x)],
  ["Entropy", ["entropy"]],
  ["Loss", ["policy_loss"]],
  ["Gradient norm", ["grad_norm"]],
];

/** What all runs have in common: nothing where only one of them has anything to show. */
export function together(data, params) {
  const measured = data.runs.filter((run) => run.evaluations.length);
  const trained = data.runs.filter((run) => run.training);
  if (measured.length < 2 && trained.length < 2) return null;
  const evaluations = measured.flatMap((run) => run.evaluations.map((e) => ({ ...e, label: e.key })));
  return h("section", {}, h("h2", {}, "All runs"),
    measured.length > 1 && h("div", { class: "charts" }, curves(evaluations, data.sets)),
    trained.length > 1 && overlay(trained, params),
    h("hr", {}));
}

/** One chart of pass@k for each set of problems: other problems are no easier or harder model. */
export function curves(evaluations, sets) {
  const graded = evaluations.filter((e) => e.curve.length);
  if (!graded.length) return h("p", { class: "quiet" }, "Nothing says which answers are right, so there is no pass@k.");
  const groups = bySet(graded);
  const several = groups.length > 1;
  return groups.map(([set, members]) => {
    const figure = chart(
      members.slice(0, MOST).map((e) => ({ name: e.label, points: e.curve.map((p) => ({ x: p.k, y: p.value, low: p.low, high: p.high })) })),
      { title: `pass@k on ${members.length > 1 ? "the same " : ""}${plural(sets[set].problems, "problem")}`, named: several, xName: "k", format: (x) => percent(x, 0), log: true, min: 0, max: 1 });
    return h("div", {}, figure,
      h("p", { class: "quiet small clip" }, "with 95 % intervals",
        several && ["; a problem: ", h("span", { dir: "auto" }, visible(sets[set].example))]),
      leftOut(members.length));
  });
}

/** [set, its evaluations], the largest group first. */
export function bySet(evaluations) {
  const groups = new Map();
  for (const e of evaluations) groups.set(e.set, [...(groups.get(e.set) ?? []), e]);
  return [...groups].sort(([, a], [, b]) => b.length - a.length);
}

/** One metric of every run, chosen from a list; the choice is part of the address. */
function overlay(runs, params) {
  const metrics = metricsOf(runs);
  const wanted = params.get("metric");
  const chosen = metrics.find((m) => m.name === wanted) ?? metrics[0];
  if (!chosen) return null;
  const box = h("div", {}, drawn(chosen));
  const select = h("select", { onchange: () => {
    history.replaceState(null, "", address("overview", params, { metric: metrics[select.selectedIndex].name }));
    replace(box, drawn(metrics[select.selectedIndex]));
  } }, metrics.map((m) => h("option", { value: m.name }, m.title)));
  select.selectedIndex = metrics.indexOf(chosen);
  return h("div", {}, h("h3", {}, "Training of all runs"), h("label", { class: "metric" }, "metric", select), box);
}

function drawn(metric) {
  return [
    chart(metric.runs.slice(0, MOST).map((run) => ({
      name: run.name,
      points: run.training.step.map((x, i) => ({ x, y: run.training.columns[metric.name][i] })),
    })), { title: metric.title, format: metric.format, broad: true }),
    leftOut(metric.runs.length),
  ];
}

const leftOut = (count) => count > MOST && h("p", { class: "quiet" }, `the first ${MOST} of ${count} are drawn: name fewer runs to see the others`);

/** The metrics that any run has numbers of, the usual ones first: {name, title, format, runs}. */
function metricsOf(runs) {
  const known = new Map([["reward/mean", ["Reward"]]]);
  for (const [title, names, format] of CHARTS) {
    for (const name of names) known.set(name, [names.length > 1 ? `${title}, ${name.split("/").at(-1)}` : title, format]);
  }
  const found = new Map();
  for (const run of runs) {
    for (const [name, values] of Object.entries(run.training.columns)) {
      if (values.some(isNumber)) found.set(name, [...(found.get(name) ?? []), run]);
    }
  }
  const usual = [...known.keys()].filter((name) => found.has(name));
  const others = [...found.keys()].filter((name) => !known.has(name)).sort();
  return [...usual, ...others].map((name) => {
    const [title, format] = known.get(name) ?? [spelled(name)];
    const having = found.get(name);
    return { name, format, runs: having, title: having.length < runs.length ? `${title} (${having.length} of ${plural(runs.length, "run")})` : title };
  });
}
