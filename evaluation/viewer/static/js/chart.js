// Line charts as SVG: a few series, intervals as bands, exact numbers under the pointer and in a
// table that can be opened.

import { h, isNumber, s, short } from "./dom.js";

const W = 360, H = 190, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 30;

/**
 * series: [{name, points: [{x, y, low?, high?}]}]; options: {title, xName, format, min, max, log}.
 * `log` spaces x by its logarithm (k = 1, 2, 4, 8).
 */
export function chart(series, options = {}) {
  const drawn = series
    .map((one, i) => ({ ...one, color: i % 6, points: one.points.filter((p) => isNumber(p.y)) }))
    .filter((one) => one.points.length);
  const format = options.format ?? short;
  const box = h("figure", { class: "chart" }, h("figcaption", {}, options.title));
  if (!drawn.length) return append(box, h("p", { class: "quiet" }, "nothing yet"));
  const all = drawn.flatMap((one) => one.points);
  const along = (x) => (options.log ? Math.log2(x) : x);
  const xs = scale(all.map((p) => along(p.x)), LEFT, W - RIGHT);
  const values = all.flatMap((p) => [p.y, p.low, p.high]).filter(isNumber);
  const ys = scale([...values, options.min, options.max].filter(isNumber), H - BOTTOM, TOP, 0.06);
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": summary(options, drawn, format) });
  for (const y of ticks(ys.min, ys.max)) {
    picture.append(
      s("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: ys(y), y2: ys(y) }),
      s("text", { x: LEFT - 6, y: ys(y) + 3.5, "text-anchor": "end" }, format(y)));
  }
  const marks = options.log ? [...new Set(all.map((p) => p.x))].sort((a, b) => a - b) : ticks(xs.min, xs.max, true);
  for (const x of marks) {
    picture.append(s("text", { x: xs(along(x)), y: H - BOTTOM + 15, "text-anchor": "middle" }, String(x)));
  }
  picture.append(s("text", { class: "axis", x: (LEFT + W - RIGHT) / 2, y: H - 3, "text-anchor": "middle" }, options.xName ?? "step"));
  for (const one of drawn) picture.append(...lines(one, (p) => xs(along(p.x)), ys));
  const note = h("div", { class: "readout quiet", "aria-hidden": "true" });
  follow(picture, drawn, (p) => xs(along(p.x)), (x) => {
    note.textContent = x === null ? "" : [`${options.xName ?? "step"} ${x}`, ...drawn.map((one) => {
      const p = one.points.find((q) => q.x === x);
      return p && `${drawn.length > 1 ? `${one.name} ` : ""}${withInterval(p, format)}`;
    }).filter(Boolean)].join(" · ");
  });
  append(box, picture, drawn.length > 1 && legend(drawn), note, table(drawn, options, format));
  return box;
}

function append(box, ...children) {
  box.append(...children.filter(Boolean));
  return box;
}

function lines(one, x, y) {
  const parts = [];
  const banded = one.points.filter((p) => isNumber(p.low) && isNumber(p.high));
  if (banded.length > 1) {
    const up = banded.map((p) => `${x(p)},${y(p.high)}`);
    const down = banded.map((p) => `${x(p)},${y(p.low)}`).reverse();
    parts.push(s("polygon", { class: `band c${one.color}`, points: [...up, ...down].join(" ") }));
  }
  const path = one.points.map((p) => `${x(p).toFixed(1)},${y(p.y).toFixed(1)}`);
  parts.push(s("polyline", { class: `line c${one.color}`, points: path.join(" ") }));
  if (one.points.length <= 12) {
    for (const p of one.points) parts.push(s("circle", { class: `dot c${one.color}`, cx: x(p), cy: y(p.y), r: 3 }));
  }
  return parts;
}

function legend(drawn) {
  return h("div", { class: "legend" }, drawn.map((one) =>
    h("span", {}, s("svg", { viewBox: "0 0 16 8", "aria-hidden": "true" },
      s("line", { class: `line c${one.color}`, x1: 1, x2: 15, y1: 4, y2: 4 })), one.name)));
}

function table(drawn, options, format) {
  const xs = [...new Set(drawn.flatMap((one) => one.points.map((p) => p.x)))].sort((a, b) => a - b);
  const fold = h("details", { class: "numbers" }, h("summary", {}, "numbers"));
  fold.addEventListener("toggle", () => { // made when it is asked for: there may be many charts
    if (fold.querySelector("table")) return;
    fold.append(h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, options.xName ?? "step"), drawn.map((one) => h("th", {}, one.name)))),
      h("tbody", {}, xs.map((x) => h("tr", {}, h("td", {}, x), drawn.map((one) => {
        const p = one.points.find((q) => q.x === x);
        return h("td", {}, p ? withInterval(p, format) : "");
      })))))));
  });
  return fold;
}

function follow(picture, drawn, x, show) {
  const line = s("line", { class: "pointer", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  picture.append(line);
  const points = drawn.flatMap((one) => one.points);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * W;
    const near = points.reduce((best, p) => (Math.abs(x(p) - at) < Math.abs(x(best) - at) ? p : best));
    line.setAttribute("x1", x(near));
    line.setAttribute("x2", x(near));
    line.setAttribute("visibility", "visible");
    show(near.x);
  });
  picture.addEventListener("pointerleave", () => {
    line.setAttribute("visibility", "hidden");
    show(null);
  });
}

function withInterval(p, format) {
  return isNumber(p.low) && isNumber(p.high) ? `${format(p.y)} [${format(p.low)}, ${format(p.high)}]` : format(p.y);
}

function summary(options, drawn, format) {
  const ends = drawn.map((one) => {
    const [a, b] = [one.points[0], one.points.at(-1)];
    return `${one.name} from ${format(a.y)} to ${format(b.y)}`;
  });
  return `${options.title ?? "chart"}: ${ends.join("; ")}`;
}

function scale(values, from, to, margin = 0) {
  let min = Math.min(...values), max = Math.max(...values);
  if (min === max) [min, max] = [min - (Math.abs(min) || 1) * 0.5, max + (Math.abs(max) || 1) * 0.5];
  const pad = (max - min) * margin;
  if (min !== 0) min -= pad;
  if (max !== 1) max += pad;
  const at = (v) => from + ((v - min) / (max - min)) * (to - from);
  return Object.assign(at, { min, max });
}

function ticks(min, max, wholeNumbers = false) {
  const rough = (max - min) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((x) => x >= rough);
  if (wholeNumbers) step = Math.max(1, Math.ceil(step));
  const found = [];
  for (let v = Math.ceil(min / step) * step; v <= max + step * 1e-9; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}
