// A report answers the same questions as the server, from the data embedded in it.

/** The function that answers from `data`, as evaluation/report.py embeds it. */
export function localAnswers(data) {
  const samples = new Map(Object.entries(data.logs));
  const byId = new Map(data.problems.map((row) => [row.id, row]));
  const keysOf = (query) => {
    const keys = query.getAll("log").filter((key) => samples.has(key));
    return keys.length ? keys : data.compared;
  };
  const answers = {
    status: () => data.status,
    overview: () => data.overview,
    categories: () => data.categories,
    problems: (query) => list(data, samples, keysOf(query), query),
    problem(query) {
      const id = query.get("id");
      const row = byId.get(id);
      if (!row) throw new Error(`this report holds no problem ${id}`);
      const logs = keysOf(query).map((key) => ({ key, total: (samples.get(key)[id] ?? []).length, samples: samples.get(key)[id] ?? [] }));
      return { id, prompts: row.prompts, answer: row.answer, metadata: row.metadata, logs };
    },
    sample: () => { throw new Error("the rest of this answer is not in the report: see the log"); },
    steps: (query) => trainingOf(data, query),
    step(query) {
      const found = trainingOf(data, query).step[query.get("step")];
      if (!found) throw new Error(`step ${query.get("step")} is not in this report: open the run with groupwise view`);
      return found;
    },
    trajectory(query) {
      const id = query.get("id");
      const steps = Object.values(trainingOf(data, query).step).sort((a, b) => a.step - b.step);
      const met = steps.flatMap(({ step, groups }) => groups.filter((g) => g.id === id).map((g) => ({ step, samples: g.samples })));
      if (!met.length) throw new Error("none of the steps in this report has this prompt: open the run with groupwise view");
      const { prompt, answer } = met[0].samples[0];
      return { id, key: query.get("log"), prompts: [{ prompt, logs: [] }], answer, metadata: {}, steps: met };
    },
    queue(query) {
      const found = [];
      const part = query.get("part");
      const threshold = Number(query.get("threshold") ?? 0.5);
      for (const key of keysOf(query)) {
        for (const [id, answersOfProblem] of Object.entries(samples.get(key))) {
          for (const sample of answersOfProblem) {
            if (disagree(sample, part, threshold)) found.push({ ...sample, id, question: byId.get(id)?.question, answer: byId.get(id)?.answer });
          }
        }
      }
      return { more: found.length > 200, samples: found.slice(0, 200) };
    },
  };
  return (name, query) => {
    if (!answers[name]) throw new Error("this is not in the report: open the run with groupwise view");
    return answers[name](query);
  };
}

function trainingOf(data, query) {
  const found = data.training[query.get("log")];
  if (!found) throw new Error("this training is not in the report");
  return found;
}

function disagree(sample, part, threshold) {
  if (part) {
    const value = sample.parts?.[part];
    return typeof value === "number" && typeof sample.correct === "boolean" && (value >= threshold) !== sample.correct;
  }
  const mark = sample.review?.mark;
  return mark === "unsure" || (mark === "right" && sample.correct !== true) || (mark === "wrong" && sample.correct === true);
}

function list(data, samples, keys, query) {
  const [a, b] = [keys[0], keys.at(-1)];
  const share = (row, key) => { const x = row.logs[key]; return x && x.right !== null && x.n ? x.right / x.n : null; };
  const two = a !== b;
  const listed = data.problems.map((row) => {
    const [solvedA, solvedB] = [share(row, a), share(row, b)];
    const known = two && solvedA !== null && solvedB !== null;
    return { row, solvedA, solvedB, delta: known ? solvedB - solvedA : null, flip: known && (solvedA === 0) !== (solvedB === 0) };
  });
  const fits = sampleFilter(query);
  const changed = CHANGES[query.get("change")] ?? (() => true);
  const kept = listed.filter((one) => changed(one) && inCategory(one.row, query) && matches(one.row, samples, keys, fits, query));
  kept.sort(order(query, a, b));
  const offset = Number(query.get("offset") ?? 0), limit = Number(query.get("limit") ?? 50);
  return { total: kept.length, offset, logs: keys, searchable: true, rows: kept.slice(offset, offset + limit).map((one) => one.row) };
}

const CHANGES = {
  any: (x) => x.delta !== null && x.delta !== 0,
  won: (x) => x.delta > 0,
  lost: (x) => x.delta < 0,
  newly_solved: (x) => x.flip && x.solvedB > 0,
  no_longer_solved: (x) => x.flip && x.solvedB === 0,
  unsolved: (x) => !x.solvedA && !x.solvedB,
  always: (x) => (x.solvedA ?? 1) === 1 && (x.solvedB ?? 1) === 1,
  mixed: (x) => x.solvedB > 0 && x.solvedB < 1,
};

function inCategory(row, query) {
  const field = query.get("field");
  return !field || (row.fields ?? {})[field] === query.get("value");
}

/** A test of one sample, or null where no filter is about samples; an error for a bad expression. */
function sampleFilter(query) {
  const tests = [];
  const equal = (name, field) => { const v = query.get(name); if (v) tests.push((x) => (x[field] ?? "ungraded") === v); };
  equal("status", "status");
  equal("finish", "finish_reason");
  for (const [name, field] of [["score", "score"], ["tokens", "num_tokens"]]) {
    const [low, high] = [query.get(`${name}_min`), query.get(`${name}_max`)];
    if (low) tests.push((x) => typeof x[field] === "number" && x[field] >= Number(low));
    if (high) tests.push((x) => typeof x[field] === "number" && x[field] <= Number(high));
  }
  const mark = query.get("mark");
  if (mark) tests.push((x) => (mark === "any" ? Boolean(x.review) : mark === "none" ? !x.review : x.review?.mark === mark));
  return tests.length ? (x) => tests.every((test) => test(x)) : null;
}

function matches(row, samples, keys, fits, query) {
  const q = query.get("q");
  if (!fits && !q) return true;
  const has = textTest(q, query.get("regex") === "1");
  const scope = query.get("scope") ?? "both";
  const asked = q && scope !== "answers" && (row.id === q || row.prompts.some((p) => has(p.prompt)));
  return keys.some((key) => (samples.get(key)[row.id] ?? []).some((x) =>
    (!fits || fits(x)) && (!q || asked || (scope !== "prompts" && has(x.completion))))) || (asked && !fits);
}

function textTest(q, isExpression) {
  if (!q) return () => true;
  if (!isExpression) { const low = q.toLowerCase(); return (text) => text.toLowerCase().includes(low); }
  try {
    const expression = new RegExp(q, "isu");
    return (text) => expression.test(text);
  } catch (error) {
    throw new Error(`the regular expression: ${error.message}`);
  }
}

function order(query, a, b) {
  const value = {
    change: (x) => x.delta,
    solved_before: (x) => x.solvedA,
    solved_after: (x) => x.solvedB,
    score: (x) => x.row.logs[b]?.score,
    tokens: (x) => x.row.logs[b]?.tokens,
  }[query.get("sort")];
  const sign = query.get("reverse") === "1" ? -1 : 1;
  const name = (x) => x.row.question || x.row.id;
  if (query.get("sort") === "question") return (x, y) => sign * name(x).localeCompare(name(y));
  if (value) return (x, y) => { const [v, w] = [value(x) ?? null, value(y) ?? null]; return v === null || w === null ? (v === null) - (w === null) : sign * (w - v); };
  return (x, y) => sign * ((y.flip - x.flip) || (Math.abs(y.delta ?? 0) - Math.abs(x.delta ?? 0)) || ((y.delta ?? 0) - (x.delta ?? 0)));
}
