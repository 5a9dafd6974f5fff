// The sections of the report. Each takes the report's data and returns an element, or null where it has nothing to say.

import { INK, SHADES, STROKES, figure, shadeLegend, stepLines, strokeLegend } from "./charts.js";
import { duration, el, number, percent, table, visible } from "./dom.js";

export function modelName(round) {
  return round === null || round === undefined ? "model" : round < 0 ? "base" : `round ${round}`;
}

function section(id, title, text, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), text && el("p", { class: "muted" }, text), ...children);
}

function figures(...children) {
  return el("div", { class: "figures" }, children);
}

const METRICS = {
  mean_reward: ["Mean reward", "of the samples on held-out prompts"],
  ras: ["RAS", "share of samples that beat the reference"],
  nag_win_rate: ["NAG win rate", "share of pairs won against the base model"],
  nag_net: ["NAG net", "wins minus losses against the base model"],
};

export function variantsOf(report) {
  return [...new Set(report.evaluations.map((row) => row.variant).filter(Boolean))];
}

export function outcome(report) {
  const { evaluations } = report;
  if (!evaluations.length) return section("outcome", "Outcome", "No model has been evaluated yet.");
  const variants = variantsOf(report);
  const labels = [...new Set(evaluations.map((row) => row.round))].sort((a, b) => a - b).map(modelName);
  const confidence = `${Math.round(100 * evaluations[0].confidence)} % bootstrap intervals over ${number(evaluations[0].prompts)} prompts`;
  const charts = Object.entries(METRICS).map(([key, [title, text]]) => {
    const rows = evaluations
      .filter((row) => row.metrics[key])
      .map((row) => ({ ...row.metrics[key], model: modelName(row.round), variant: row.variant, source: row.source }));
    if (!rows.length) return null;
    // Every variant starts from what all of them share.
    const shared = rows.filter((row) => !row.variant);
    const lines = variants.length ? variants.flatMap((variant) => [...shared, ...rows.filter((row) => row.variant === variant)].map((row) => ({ ...row, line: variant }))) : rows.map((row) => ({ ...row, line: "" }));
    const references = key === "mean_reward" ? evaluations.map((row) => row.metrics.reference_reward).filter(Boolean) : [];
    const quiet = variants.length > 1;
    return figure({
      title,
      text: references.length ? `${text}; dashed: the references` : text,
      draw: () => ({
        x: { type: "point", domain: labels, label: null, padding: 0.4 },
        y: { label: null, grid: true, ticks: 5, nice: true },
        marks: [
          references.length && Plot.ruleY([references[0].value], { stroke: INK.muted, strokeDasharray: "4 3" }),
          Plot.lineY(lines, { x: "model", y: "value", z: "line", stroke: quiet ? INK.muted : INK.accent, strokeWidth: quiet ? 1 : 2 }),
          Plot.ruleX(rows, { x: "model", y1: "low", y2: "high", stroke: INK.accent, strokeWidth: 1.4, strokeOpacity: quiet ? 0.5 : 1 }),
          Plot.dot(rows, { x: "model", y: "value", r: 3.2, fill: "var(--paper)", stroke: INK.accent, strokeWidth: 1.8 }),
          Plot.tip(rows, Plot.pointer({ x: "model", y: "value", title: (row) => `${row.variant ? `${row.variant}, ` : ""}${row.model}\n${number(row.value)} [${number(row.low)}, ${number(row.high)}]`, fill: "var(--paper)", stroke: INK.line })),
        ].filter(Boolean),
      }),
      columns: ["model", "value", "low", "high", "n", "source"],
      rows: rows.map((row) => [[row.variant, row.model].filter(Boolean).join(", "), row.value, row.low, row.high, row.n, row.source]),
    });
  });
  return section("outcome", "Outcome", `Of every model, with ${confidence}.`, figures(charts));
}

/** A line for each variant: its value and interval, the first one filled. */
function intervals(rows, others = []) {
  return {
    height: 40 + 26 * rows.length,
    draw: (width) => ({
      marginLeft: Math.min(width / 2, 20 + 6.5 * Math.max(...rows.map((row) => row.variant.length))),
      y: { type: "point", domain: rows.map((row) => row.variant), label: null, padding: 0.6 },
      x: { label: null, grid: true, ticks: 5, nice: true },
      marks: [
        ...others,
        Plot.ruleY(rows, { y: "variant", x1: "low", x2: "high", stroke: INK.accent, strokeWidth: 1.4 }),
        Plot.dot(rows, { y: "variant", x: "value", r: 3.4, fill: (_, index) => (index === 0 ? "var(--accent)" : "var(--paper)"), stroke: INK.accent, strokeWidth: 1.6 }),
      ],
    }),
  };
}

export function tournament(report) {
  const found = report.tournament;
  if (!found) return null;
  const against = found.rows.filter((row) => row.difference).map((row) => ({ ...row.difference, variant: row.method }));
  against.sort((a, b) => b.value - a.value);
  const methods = found.rows.map((row) => [
    row.method === found.baseline ? `${row.method} (baseline)` : row.method,
    ...[row.metrics.mean_reward, row.difference].flatMap((metric) => (metric ? [metric.value, metric.low, metric.high] : [null, null, null])),
    row.costs.tokens_trained,
    row.seconds,
  ]);
  const shared = `Paid once for all: ${number(found.shared.tokens_sampled)} tokens sampled, ${number(found.shared.judgements)} judgements, ${duration(found.shared.seconds)}.`;
  return section(
    "tournament",
    "Tournament",
    `The last models of all methods on the same held-out prompts, against ${found.baseline}, prompt by prompt. ${shared}`,
    against.length > 0 && figures(
      figure({
        title: `Mean reward less that of ${found.baseline}`,
        text: "where an interval contains 0, the prompts do not tell the two models apart",
        isWide: true,
        ...intervals(against, [Plot.ruleX([0], { stroke: INK.line })]),
        columns: ["method", "difference", "low", "high", "n", "source"],
        rows: against.map((row) => [row.variant, row.value, row.low, row.high, row.n, found.source]),
      }),
    ),
    table(["method", "mean reward", "low", "high", "difference", "low", "high", "tokens trained", "own seconds"], methods),
  );
}

export function sweep(report) {
  const variants = variantsOf(report);
  if (variants.length < 2) return null;
  const last = variants.map((variant) => report.evaluations.filter((row) => row.variant === variant).sort((a, b) => a.round - b.round).at(-1));
  const charts = Object.entries(METRICS).map(([key, [title]]) => {
    const rows = last.filter((row) => row.metrics[key]).map((row) => ({ ...row.metrics[key], variant: row.variant, model: modelName(row.round), source: row.source }));
    if (!rows.length) return null;
    rows.sort((a, b) => b.value - a.value);
    return figure({
      title: `${title} of the last models`,
      ...intervals(rows),
      columns: ["variant", "model", "value", "low", "high", "n", "source"],
      rows: rows.map((row) => [row.variant, row.model, row.value, row.low, row.high, row.n, row.source]),
    });
  });
  return section("sweep", "Sweep", "The last model of every variant; where intervals overlap, the prompts do not tell variants apart.", figures(charts));
}

export function training(report) {
  const trainings = report.trainings.filter((one) => one.steps.length);
  if (!trainings.length) return null;
  const variants = [...new Set(trainings.map((one) => one.variant))];
  const place = el("div", {});
  const draw = (variant) => place.replaceChildren(trainingFigures(trainings.filter((one) => one.variant === variant)));
  draw(variants[0]);
  const choose = variants.length > 1 && el("label", { class: "field", style: "max-width: 22rem; margin-top: 1rem" }, "Variant", el("select", { change: (event) => draw(event.target.value) }, variants.map((name) => el("option", { value: name }, visible(name || "shared by all")))));
  const thinned = trainings.some((one) => one.every > 1) ? " Of long trainings every few steps are drawn." : "";
  return section("training", "Training", `Optimizer steps of all rounds in a row; a dashed line where a round begins.${thinned}`, choose, place);
}

function trainingFigures(trainings) {
  const points = [];
  const borders = [];
  let offset = 0;
  for (const one of trainings) {
    if (offset) borders.push(offset + 0.5);
    for (const step of one.steps) points.push({ ...step, x: offset + step.step, training: one.source });
    offset += one.steps.at(-1).step;
  }
  const has = (name) => points.some((point) => point[name] !== undefined);
  const make = (title, text, names, extra = {}) => {
    const present = names.filter(has);
    if (!present.length) return null;
    return figure({
      title,
      text,
      legend: present.length > 1 ? strokeLegend(present.map((name) => extra.names?.[name] ?? name.replaceAll("_", " "))) : null,
      draw: () => stepLines(points, present, borders, extra),
      columns: ["step", ...present, "source"],
      rows: points.map((point) => [point.step, ...present.map((name) => point[name] ?? null), `${point.training}/metrics.jsonl`]),
    });
  };
  const shares = ["exploration_share", "imitation_share", "regularizer_share"].filter(has);
  const long = points.flatMap((point) => shares.map((name) => ({ x: point.x, training: point.training, name, value: point[name] ?? 0 })));
  const origins = trainings.flatMap((one) => one.origins.map((origin) => [one.source, origin.round, origin.rounds_behind, origin.groups_trained, origin.kl_behavior, origin.effective_sample_size, origin.outside_band]));
  return el(
    "div",
    {},
    figures(
      make("Objective J", "of a step's groups, to be maximized", ["J"], { zero: true }),
      make("Components of J", null, ["exploration", "imitation", "regularizer"], { zero: true }),
      shares.length > 0 &&
        figure({
          title: "Shares of the components",
          text: "of the sum of their magnitudes",
          legend: shadeLegend(shares.map((name) => name.replace("_share", ""))),
          draw: () => ({
            x: { label: "step", ticks: 5, tickFormat: (step) => (Number.isInteger(step) ? String(step) : "") },
            y: { label: null, domain: [0, 1], ticks: 5, tickFormat: "%" },
            marks: [Plot.areaY(long, { x: "x", y: "value", z: "name", fill: (row) => SHADES[2 * shares.indexOf(row.name)], order: shares }), Plot.ruleX(borders, { stroke: "var(--paper)" })],
          }),
          columns: ["step", ...shares, "source"],
          rows: points.map((point) => [point.step, ...shares.map((name) => point[name] ?? null), `${point.training}/metrics.jsonl`]),
        }),
      make("Reward of the groups", "mean over the samples of a step", ["reward"]),
      make("Log-probability per token", "in nats", ["mean_logprob_samples", "mean_logprob_references"], { names: { mean_logprob_samples: "samples", mean_logprob_references: "references" } }),
      make("Distance from the sampling policy", "KL divergence in nats per token", ["kl_behavior", "kl_behavior_k1"], { names: { kl_behavior: "k3", kl_behavior_k1: "k1" }, zero: true }),
      make("Effective sample size", "1 where training and sampling policy are one", ["effective_sample_size"]),
      make("Tokens outside the ratio band", "share with a ratio below 0.8 or above 1.2", ["outside_band"], { y: { tickFormat: "%" } }),
      make("Entropy", "in nats per token", ["entropy"]),
      make("Gradient norm", "before clipping", ["grad_norm"]),
    ),
    origins.length > 0 && el("details", {}, el("summary", {}, "How far off-policy the groups of each training were"), table(["training", "round", "rounds behind", "groups trained", "KL (k3)", "effective sample size", "outside the band"], origins)),
  );
}

const ordered = (report) => new Map(report.sets.map((set, index) => [set.key, { ...set, index }]));

/** As many values as there is room for at an axis, the first and the last among them. */
function everyFew(values, most = 6) {
  const step = Math.ceil((values.length - 1) / (most - 1)) || 1;
  return values.filter((_, index) => (values.length - 1 - index) % step === 0);
}

/** The distribution of a reward in the sets of one purpose, one below the other. */
function histogram(one, purpose, sets) {
  const keys = Object.keys(one.shares).filter((key) => sets.get(key).purpose === purpose);
  if (!keys.length) return null;
  const label = (key) => sets.get(key).label.replace(` · ${purpose}`, "");
  const isDiscrete = one.values !== null;
  const bars = keys.flatMap((key) => one.shares[key].map((share, index) => ({ key, set: label(key), share, value: one.values?.[index], low: one.edges?.[index], high: one.edges?.[index + 1] })));
  const position = isDiscrete ? "value" : (bar) => (bar.low + bar.high) / 2;
  const title = (bar) => `${isDiscrete ? number(bar.value) : `${number(bar.low)} to ${number(bar.high)}`}: ${percent(bar.share)}`;
  return figure({
    title: one.reward,
    text: `share of the scored samples${purpose ? `, ${purpose}` : ""}`,
    height: Math.max(100, 58 * keys.length + 30),
    draw: () => ({
      marginLeft: 12 + 6.2 * Math.min(28, Math.max(...keys.map((key) => label(key).length))),
      fy: { domain: keys.map(label), label: null, padding: 0.3, axis: "left", tickFormat: (text) => (text.length > 28 ? `${text.slice(0, 27)}…` : text) },
      y: { axis: null, domain: [0, Math.max(...bars.map((bar) => bar.share))] },
      x: isDiscrete ? { type: "band", label: null, padding: 0.35, ticks: everyFew(one.values), tickFormat: (value) => number(value, 2) } : { label: null, ticks: 5 },
      marks: [
        isDiscrete
          ? Plot.barY(bars, { fy: "set", x: "value", y: "share", fill: INK.accent })
          : Plot.rectY(bars, { fy: "set", x1: "low", x2: "high", y: "share", fill: INK.accent, insetLeft: 0.5, insetRight: 0.5 }),
        Plot.ruleY([0], { stroke: INK.line }),
        Plot.tip(bars, Plot.pointer({ fy: "set", x: position, y: "share", title, fill: "var(--paper)", stroke: INK.line })),
      ],
    }),
    columns: ["set", ...(isDiscrete ? ["reward"] : ["from", "to"]), "share", "source"],
    rows: bars.map((bar) => [bar.set, ...(isDiscrete ? [bar.value] : [bar.low, bar.high]), bar.share, sets.get(bar.key).sources.join(", ")]),
  });
}

export function rewards(report) {
  if (!report.rewards.length) return section("rewards", "Rewards", "No groups have been scored yet.");
  const sets = ordered(report);
  const label = (key) => sets.get(key).label;
  const purposes = [...new Set(report.sets.map((set) => set.purpose))];
  const charts = report.histograms.flatMap((one) => purposes.map((purpose) => histogram(one, purpose, sets)).filter(Boolean));
  const counted = report.rewards.map((row) => ({ ...row, label: label(row.set) }));
  const zero = counted.filter((row) => row.zero_variance !== null);
  charts.push(
    figure({
      title: "Groups without variance",
      text: "share of the scored groups whose rewards are all equal: they teach nothing by comparison",
      height: 40 + 22 * zero.length,
      isWide: true,
      draw: (width) => ({
        marginLeft: Math.min(260, width / 2),
        y: { type: "band", label: null, domain: zero.map((row) => `${row.label}${report.histograms.length > 1 ? ` · ${row.reward}` : ""}`) },
        x: { label: null, domain: [0, Math.max(0.05, ...zero.map((row) => row.zero_variance))], tickFormat: "%", ticks: 5, grid: true },
        marks: [Plot.barX(zero, { y: (row) => `${row.label}${report.histograms.length > 1 ? ` · ${row.reward}` : ""}`, x: "zero_variance", fill: INK.accent, insetTop: 2, insetBottom: 2 })],
      }),
      columns: ["set", "reward", "share", "source"],
      rows: zero.map((row) => [row.label, row.reward, row.zero_variance, sets.get(row.set).sources.join(", ")]),
    }),
  );
  const statuses = counted.map((row) => [row.label, row.reward, row.samples, row.scored, row.mean, row.reference_mean, Object.entries(row.statuses).map(([name, count]) => `${name} ${number(count)}`).join(", ") || null]);
  const agreement = report.agreement.filter((row) => row.rho !== null);
  return section(
    "rewards",
    "Rewards",
    null,
    figures(charts),
    el("h3", { style: "margin-top: 2rem" }, "Judgements"),
    table(["set", "reward", "samples", "scored", "mean", "mean of the references", "statuses"], statuses),
    report.agreement.length > 0 && [
      el("h3", { style: "margin-top: 2rem" }, "Agreement between rewards"),
      el("p", { class: "muted" }, "Spearman's rank correlation over the samples that both have scored: 1 where they order samples alike, 0 where they have nothing in common."),
      agreement.length ? table(["set", "reward", "and", "correlation", "samples"], agreement.map((row) => [label(row.set), ...row.rewards, row.rho, row.n])) : el("p", { class: "empty" }, "No two rewards vary over the same samples."),
    ],
  );
}

export function lengths(report) {
  const sets = ordered(report);
  const rows = report.lengths.filter((row) => row.samples).map((row) => ({ ...row, label: sets.get(row.set).label, source: sets.get(row.set).sources[0], low: row.quantiles[0], median: row.quantiles[1], high: row.quantiles[2] }));
  if (!rows.length) return null;
  const shape = (width) => ({ marginLeft: Math.min(190, width / 2), y: { type: "band", domain: rows.map((row) => row.label), label: null, padding: 0.5 } });
  return section(
    "lengths",
    "Lengths",
    null,
    figures(
      figure({
        title: "Tokens per sample",
        text: "median, and from the 10 % to the 90 % quantile; a stroke: the median of the references",
        height: 40 + 26 * rows.length,
        draw: (width) => ({
          ...shape(width),
          x: { label: null, grid: true, ticks: 5, zero: true },
          marks: [
            Plot.ruleY(rows, { y: "label", x1: "low", x2: "high", stroke: INK.accent, strokeWidth: 1.6 }),
            Plot.tickX(rows.filter((row) => row.reference !== null), { y: "label", x: "reference", stroke: INK.muted, strokeWidth: 1.6 }),
            Plot.dot(rows, { y: "label", x: "median", r: 3.4, fill: "var(--paper)", stroke: INK.accent, strokeWidth: 1.8 }),
          ],
        }),
        columns: ["set", "10 %", "median", "90 %", "mean", "references", "source"],
        rows: rows.map((row) => [row.label, row.low, row.median, row.high, row.mean, row.reference, row.source]),
      }),
      figure({
        title: "Cut off at the token limit",
        text: "share of the samples",
        height: 40 + 26 * rows.length,
        draw: (width) => ({
          ...shape(width),
          x: { label: null, grid: true, ticks: 5, tickFormat: "%", domain: [0, Math.max(0.05, ...rows.map((row) => row.length))] },
          marks: [Plot.ruleY(rows, { y: "label", x1: 0, x2: "length", stroke: INK.accent, strokeWidth: 1.6 }), Plot.dot(rows, { y: "label", x: "length", r: 3.4, fill: "var(--paper)", stroke: INK.accent, strokeWidth: 1.8 })],
        }),
        columns: ["set", "cut off", "aborted", "samples", "source"],
        rows: rows.map((row) => [row.label, row.length, row.abort, row.samples, row.source]),
      }),
    ),
  );
}

export function costs(report) {
  if (!report.costs.length) return null;
  const rows = report.costs.map((row) => ({ ...row, label: [row.variant, modelName(row.round)].filter(Boolean).join(", "), part: row.is_evaluation ? "evaluate" : row.stage }));
  const order = ["prompts", "references", "curriculum", "generate", "score", "advantages", "train"];
  const place = (part) => (order.includes(part) ? order.indexOf(part) : order.length);
  const parts = [...new Set(rows.map((row) => row.part))].sort((a, b) => place(a) - place(b));
  const labels = [...new Set(rows.map((row) => row.label))];
  const sum = (name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
  const amounts = [["tokens sampled", "tokens_sampled"], ["tokens trained", "tokens_trained"], ["judgements made", "judgements"], ["tokens of judges", "judge_tokens"]];
  return section(
    "costs",
    "Time and cost",
    `${duration(sum("seconds"))} in all, stopped runs included; ${amounts.map(([text, name]) => `${number(sum(name))} ${text}`).join(", ")}.`,
    figures(
      figure({
        title: "Seconds per stage",
        isWide: true,
        legend: shadeLegend(parts),
        height: 50 + 26 * labels.length,
        draw: (width) => ({
          marginLeft: Math.min(190, width / 3),
          y: { type: "band", domain: labels, label: null, padding: 0.25 },
          x: { label: null, grid: true, ticks: 6 },
          marks: [
            Plot.barX(rows, Plot.stackX({ y: "label", x: "seconds", fill: (row) => SHADES[parts.indexOf(row.part) % SHADES.length], order: (row) => parts.indexOf(row.part) })),
            Plot.tip(rows, Plot.pointer(Plot.stackX({ y: "label", x: "seconds", order: (row) => parts.indexOf(row.part), title: (row) => `${row.source}\n${duration(row.seconds)}`, fill: "var(--paper)", stroke: INK.line }))),
          ],
        }),
        columns: ["output", "stage", "seconds", ...amounts.map(([text]) => text)],
        rows: rows.map((row) => [row.source, row.stage, row.seconds, ...amounts.map(([, name]) => row[name] ?? null)]),
      }),
    ),
  );
}

export function origins(report) {
  if (!report.origins.length) return null;
  const short = (fingerprint) => fingerprint.slice(0, 8);
  const options = (values) => Object.entries(values).map(([name, value]) => `${name.replace(/_$/, "")} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  const rows = report.origins.map((row) => [
    row.source,
    row.kind,
    short(row.fingerprint),
    el("span", {}, visible(row.inputs.map((input) => `${input.role} ${short(input.fingerprint)}${input.name ? ` (${input.name})` : ""}`).join(", ") || "–")),
    el("span", {}, visible(options(row.options) || "defaults")),
  ]);
  const versions = report.origins.at(-1).versions;
  return section(
    "origins",
    "Where it came from",
    "Every output with the fingerprints of what it was made from, and its options that are not defaults.",
    el("details", {}, el("summary", {}, `${number(rows.length)} outputs`), table(["output", "kind", "fingerprint", "made from", "options"], rows)),
    el("p", { class: "muted" }, visible(Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(" · "))),
  );
}

export function remarks(report) {
  const notes = new Map();
  const add = (source, texts) => texts.forEach((text) => notes.set(text, [...(notes.get(text) ?? []), source]));
  for (const row of report.evaluations) add(row.source, row.notes);
  for (const row of report.costs) add(row.source, row.notes);
  for (const row of report.trainings) if (row.damaged_lines) add(row.source, [`${number(row.damaged_lines)} lines of metrics.jsonl cannot be read.`]);
  for (const text of report.problems) notes.set(text, []);
  if (!notes.size) return null;
  const item = ([text, sources]) => el("li", {}, visible(text), sources.length > 0 && el("span", { class: "muted" }, visible(` (${[...new Set(sources)].join(", ")})`)));
  return section("notes", "What the stages noted", null, el("ul", { class: "notes" }, [...notes].map(item)));
}
