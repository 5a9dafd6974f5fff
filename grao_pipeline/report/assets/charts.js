// Figures: a title, a sentence, a chart that follows the width of the page, and the numbers that it was drawn from.

import { el, svg, table } from "./dom.js";

export const INK = { accent: "var(--accent)", ink: "var(--ink)", muted: "var(--muted)", line: "var(--line)" };
/** Lines that one chart tells apart: by color, and for those who do not see it, by dashes. */
export const STROKES = [
  { stroke: INK.accent, strokeWidth: 2, strokeDasharray: null },
  { stroke: INK.ink, strokeWidth: 1.4, strokeDasharray: null },
  { stroke: INK.muted, strokeWidth: 1.4, strokeDasharray: "4 3" },
  { stroke: INK.muted, strokeWidth: 1.4, strokeDasharray: "1 3" },
];
/** Shades of the accent color, from strong to weak, for parts of a whole. */
export const SHADES = [90, 66, 46, 30, 18, 10].map((share) => `color-mix(in srgb, var(--accent) ${share}%, var(--paper))`);

const BASE = { style: { background: "none", fontFamily: "inherit", fontSize: "11.5px", overflow: "visible" }, marginLeft: 42, marginRight: 12 };

/** draw(width) returns the options of a plot; rows of the table end with the output that they were read from. */
export function figure({ title, text, legend, draw, columns, rows, isWide = false, height = 190 }) {
  const place = el("div", {});
  const element = el(
    "figure",
    { class: isWide ? "wide" : null },
    el("figcaption", {}, el("h3", {}, title), text && el("p", {}, text)),
    legend,
    place,
    rows && rows.length > 0 && el("details", {}, el("summary", {}, "Numbers"), table(columns, rows)),
  );
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (now === 0 || now === width) return;
    width = now;
    const chart = Plot.plot({ ...BASE, width, height, ...draw(width) });
    // An image is read as a whole; roles and names of its parts would be read out of place.
    for (const part of chart.querySelectorAll("[aria-label]")) {
      part.dataset.mark = part.getAttribute("aria-label");
      part.removeAttribute("aria-label");
    }
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-label", `Chart: ${title}`);
    place.replaceChildren(chart);
  }).observe(place);
  return element;
}

/** What the strokes of a chart stand for. */
export function strokeLegend(names) {
  return el(
    "ul",
    { class: "legend" },
    names.map((name, index) => {
      const { stroke, strokeWidth, strokeDasharray } = STROKES[index];
      return el("li", {}, svg("svg", { width: 22, height: 8, "aria-hidden": "true" }, svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke, "stroke-width": strokeWidth, "stroke-dasharray": strokeDasharray })), name);
    }),
  );
}

/** What the shades of a chart stand for. */
export function shadeLegend(names) {
  return el("ul", { class: "legend" }, names.map((name, index) => el("li", {}, svg("svg", { width: 12, height: 10, "aria-hidden": "true" }, svg("rect", { width: 12, height: 10, fill: SHADES[index % SHADES.length] })), name)));
}

/** Lines over optimizer steps, with a rule where a round begins. */
export function stepLines(points, names, borders, { y = {}, zero = false } = {}) {
  return {
    x: { label: "step", ticks: 5, tickFormat: (step) => (Number.isInteger(step) ? String(step) : "") },
    y: { label: null, grid: true, ticks: 5, ...y },
    marks: [
      zero && Plot.ruleY([0], { stroke: INK.line }),
      Plot.ruleX(borders, { stroke: INK.line, strokeDasharray: "2 3" }),
      ...names.map((name, index) => Plot.lineY(points.filter((point) => point[name] !== undefined), { x: "x", y: name, z: "training", ...STROKES[index % STROKES.length] })),
      Plot.tip(points, Plot.pointerX({ x: "x", y: (point) => point[names[0]], title: (point) => [`${point.training}, step ${point.step}`, ...names.map((name) => `${name.replaceAll("_", " ")} ${point[name] ?? "–"}`)].join("\n"), fill: "var(--paper)", stroke: INK.line })),
    ].filter(Boolean),
  };
}
