// Training: the answers of a step by group, and one prompt's answers from step to step.

import { get } from "./api.js";
import { chart } from "./chart.js";
import { decimal, h, percent, plural, replace, whole } from "./dom.js";
import { choose, showAddressed } from "./problem.js";
import { address } from "./route.js";
import { sampleCard } from "./sample.js";
import { visible } from "./text.js";

export const training = {
  title: "Training",
  async show(main, { params, status }) {
    const known = status.logs.filter((log) => log.kind === "rollouts" && log.samples > 0);
    if (!known.length) {
      replace(main, h("p", { class: "empty" }, "No rollouts here: they are written while a model is trained."));
      return;
    }
    const wanted = params.getAll("log");
    const log = known.find((l) => wanted.includes(l.key)) ?? known.find((l) => wanted.some((w) => w.startsWith(`${l.run}/`))) ?? known[0];
    const here = (changes) => address("training", undefined, { log: log.key, ...changes });
    const picker = known.length > 1 && h("nav", { class: "pager" }, known.map((l) => l === log
      ? h("strong", {}, visible(l.run)) : h("a", { href: address("training", undefined, { log: l.key }) }, visible(l.run))));
    if (params.get("id") !== null) replace(main, picker, await trajectory(log, params.get("id"), here));
    else if (params.get("step") !== null) replace(main, picker, await oneStep(log, Number(params.get("step")) | 0, here));
    else replace(main, picker, await allSteps(log, here));
  },
  shown: (main, { params }) => showAddressed(main, params),
  items: (main) => [...main.querySelectorAll("article.card, tbody tr")],
  open: (item) => item.querySelector("a")?.click(),
  keys: {
    n: (main) => main.querySelector("a[rel=next]")?.click(),
    p: (main) => main.querySelector("a[rel=prev]")?.click(),
    u: (main) => main.querySelector("a.up-link")?.click(),
  },
};

async function allSteps(log, here) {
  const data = await get("steps", { log: log.key });
  const points = (name) => data.steps.map((row) => ({ x: row.step, y: row[name] }));
  return [
    h("h2", {}, "Rollouts of ", visible(log.run)),
    h("div", { class: "charts" },
      chart([{ name: "right", points: points("solved") }], { title: "Right answers", format: (x) => percent(x) }),
      chart([{ name: "score", points: points("score") }], { title: "Score" }),
      chart([{ name: "tokens", points: points("tokens") }], { title: "Length in tokens" })),
    h("div", { class: "beside even" },
      h("div", {}, h("h3", {}, "Steps", data.step && h("span", { class: "quiet" }, ": those with a link are in this report")), h("div", { class: "scroll tall" }, h("table", { class: "list" },
        h("thead", {}, h("tr", {}, ["step", "prompts", "answers", "right", "score", "tokens", "truncated"].map((t) => h("th", {}, t)))),
        h("tbody", {}, data.steps.map((row) => h("tr", { tabindex: "-1" },
          h("td", {}, data.step && !data.step[row.step] ? whole(row.step) : h("a", { href: here({ step: row.step ?? 0 }) }, whole(row.step))), h("td", {}, whole(row.problems)), h("td", {}, whole(row.samples)),
          h("td", {}, percent(row.solved)), h("td", {}, decimal(row.score)), h("td", {}, whole(row.tokens)), h("td", {}, whole(row.truncated)))))))),
      !data.step && h("div", {}, h("h3", {}, "Prompts seen most often"), h("div", { class: "scroll tall" }, h("table", { class: "list" },
        h("thead", {}, h("tr", {}, ["prompt", "steps", "answers", "right"].map((t) => h("th", {}, t)))),
        h("tbody", {}, data.problems.map((row) => h("tr", { tabindex: "-1" },
          h("td", { class: "question" }, h("a", { href: here({ id: row.id }), dir: "auto" }, visible(row.question || row.id))),
          h("td", {}, whole(row.steps)), h("td", {}, whole(row.samples)), h("td", {}, percent(row.solved))))))))),
  ];
}

async function oneStep(log, step, here) {
  const [data, { steps }] = await Promise.all([get("step", { log: log.key, step }), get("steps", { log: log.key })]);
  const numbers = steps.map((row) => row.step);
  const at = numbers.indexOf(step);
  return [
    heading(`Step ${step}`, here, numbers[at - 1], numbers[at + 1], (to) => here({ step: to })),
    data.groups.map((group) => h("section", { class: "group" },
      h("h3", {}, h("a", { href: here({ id: group.id }), dir: "auto", title: "this prompt through training" }, visible(group.question || group.id)),
        " ", h("span", { class: "quiet" }, rightOf(group.samples))),
      h("div", { class: "answers" }, group.samples.map((sample) => sampleCard(sample, { title: `#${sample.sample_index}`, onDiff: choose }))))),
  ];
}

async function trajectory(log, id, here) {
  const data = await get("trajectory", { log: log.key, id });
  const share = (samples) => { const graded = samples.filter((x) => typeof x.correct === "boolean"); return graded.length ? graded.filter((x) => x.correct).length / graded.length : null; };
  const mean = (samples) => { const scored = samples.filter((x) => typeof x.score === "number"); return scored.length ? scored.reduce((sum, x) => sum + x.score, 0) / scored.length : null; };
  return [
    heading(data.id, here),
    h("div", { class: "text plain prompt", dir: "auto" }, visible(data.prompts.map((p) => p.prompt).join("\n\n"))),
    h("p", {}, "Reference: ", h("code", { dir: "auto" }, visible(String(data.answer)))),
    data.steps.length > 1 && h("div", { class: "charts" },
      chart([{ name: "right", points: data.steps.map((x) => ({ x: x.step, y: share(x.samples) })) }], { title: "Right answers to this prompt", format: (x) => percent(x), min: 0, max: 1 }),
      chart([{ name: "score", points: data.steps.map((x) => ({ x: x.step, y: mean(x.samples) })) }], { title: "Score" })),
    data.steps.map((entry) => h("section", { class: "group" },
      h("h3", {}, h("a", { href: here({ step: entry.step }) }, `Step ${entry.step}`), " ", h("span", { class: "quiet" }, rightOf(entry.samples))),
      h("div", { class: "answers" }, entry.samples.map((sample) => sampleCard(sample, { title: `#${sample.sample_index}`, onDiff: choose }))))),
  ];
}

function heading(title, here, before, after, to) {
  const link = (value, rel, text) => value !== undefined && h("a", { rel, href: to(value) }, text);
  return h("div", { class: "heading" }, h("a", { class: "up-link", href: here({}) }, "← training"), h("h2", { dir: "auto" }, visible(title)),
    h("nav", {}, link(before, "prev", "previous step"), " ", link(after, "next", "next step")));
}

const rightOf = (samples) => `${samples.filter((x) => x.correct === true).length} of ${plural(samples.length, "answer")} right`;
