// The queue: answers on which the grader and somebody else do not agree.

import { get } from "./api.js";
import { h, plural, replace } from "./dom.js";
import { address, go, logsOf } from "./route.js";
import { sampleCard } from "./sample.js";
import { visible } from "./text.js";

export const queue = {
  title: "Disagreements",
  async show(main, { params, status }) {
    const part = params.get("part") ?? "";
    const threshold = params.get("threshold") ?? "0.5";
    const query = { log: params.getAll("log"), kind: part ? "reward" : "marks", part, threshold };
    const data = await get("queue", query);
    const select = h("select", { "aria-label": "second judge", onchange: () => go("queue", params, { part: select.value }) },
      h("option", { value: "" }, "your marks"), status.parts.map((name) => h("option", { value: name }, `reward: ${name}`)));
    select.value = part;
    const limit = h("input", { type: "number", step: "any", value: threshold, "aria-label": "threshold", onchange: () => go("queue", params, { threshold: limit.value }) });
    replace(main,
      h("h2", {}, "Disagreements"),
      h("p", { class: "row" }, "The grader against ", select, part && [" which says “right” from ", limit]),
      h("p", { class: "count", role: "status" }, plural(data.samples.length, "answer"), data.more && ", and more"),
      !data.samples.length && h("p", { class: "empty" }, part
        ? "The grader and this reward agree everywhere."
        : "No mark differs from what the grader said. Mark answers right, wrong or unsure where you read them."),
      h("div", { class: "answers" }, data.samples.map((sample) => h("div", {},
        h("p", {}, h("a", { dir: "auto", href: address("problem", logsOf(params), { id: sample.id, focus: `${sample.key}#${sample.sample_index}` }) }, visible(sample.question || sample.id)),
          " ", h("span", { class: "quiet" }, "reference ", h("code", {}, visible(String(sample.answer))))),
        sampleCard(sample, { title: `${sample.key} #${sample.sample_index}` })))));
  },
  items: (main) => [...main.querySelectorAll("article.card")],
};
