// The report: two views of one page, by the address: #report and #samples.

import { SampleBrowser } from "./browser.js";
import { duration, el, number, percent, visible } from "./dom.js";
import { MemorySource } from "./memory_source.js";
import { costs, lengths, modelName, origins, outcome, remarks, rewards, sweep, tournament, training, variantsOf } from "./sections.js";

/** JSON that was compressed by gzip and written in base 64. */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function interval(metric) {
  return `${number(metric.low)} to ${number(metric.high)}`;
}

/** The result in a sentence. */
function lead(report) {
  const rows = report.evaluations.filter((row) => row.metrics.mean_reward).sort((a, b) => a.round - b.round);
  const base = rows.find((row) => row.round === -1);
  const best = rows.filter((row) => row !== base).sort((a, b) => b.metrics.mean_reward.value - a.metrics.mean_reward.value)[0];
  if (!best) return el("p", { class: "lead" }, `${number(report.sets.length)} sets of groups, ${number(report.trainings.length)} trainings.`);
  const value = (row) => el("b", {}, number(row.metrics.mean_reward.value));
  const name = [best.variant, modelName(best.round)].filter(Boolean).join(", ");
  if (!base) return el("p", { class: "lead" }, "The best mean reward is ", value(best), visible(` (${name}).`));
  const overlaps = best.metrics.mean_reward.low <= base.metrics.mean_reward.high;
  return el("p", { class: "lead" }, "Mean reward on held-out prompts went from ", value(base), " (base model) to ", value(best), visible(` (${name})`), overlaps ? "; the intervals overlap." : ".");
}

function keys(report) {
  const rows = report.evaluations.filter((row) => row.round !== -1).sort((a, b) => a.round - b.round);
  const many = variantsOf(report).length > 1;
  const last = many ? rows.sort((a, b) => (a.metrics.mean_reward?.value ?? 0) - (b.metrics.mean_reward?.value ?? 0)).at(-1) : rows.at(-1);
  const items = [];
  const add = (name, metric, text) => metric && items.push([name, text(metric.value), interval(metric)]);
  if (last) {
    add("mean reward", last.metrics.mean_reward, (value) => number(value));
    add("RAS", last.metrics.ras, (value) => percent(value));
    add("NAG win rate", last.metrics.nag_win_rate, (value) => percent(value));
  }
  const tokens = report.costs.reduce((sum, row) => sum + (row.tokens_sampled ?? 0), 0);
  if (tokens) items.push(["tokens sampled", number(tokens), null]);
  if (report.costs.length) items.push(["time", duration(report.costs.reduce((sum, row) => sum + row.seconds, 0)), null]);
  return el("dl", { class: "keys" }, items.map(([name, value, small]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, small && el("small", {}, small)))));
}

function top(title) {
  const link = (name, text) => el("a", { href: `#${name}` }, text);
  const nav = el("nav", { "aria-label": "Views" }, link("report", "Report"), link("samples", "Samples"));
  return [el("header", { class: "top" }, el("strong", {}, visible(title)), nav), nav];
}

async function main() {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const app = document.getElementById("app");
  const [header, nav] = top(report.title);
  const sections = [outcome, tournament, sweep, training, rewards, lengths, costs, remarks, origins].map((make) => make(report)).filter(Boolean);
  const page = el(
    "main",
    { class: "report" },
    el("h1", {}, visible(report.title)),
    lead(report),
    keys(report),
    sections,
    el("p", { class: "muted" }, visible(`Made by grao-pipeline ${report.version} from ${report.run}.`)),
  );
  const samples = el("main", { "aria-label": "Samples", hidden: true });
  app.replaceChildren(header, page, samples);
  document.documentElement.style.setProperty("--top", `${header.offsetHeight}px`);
  let browser = null;

  async function route() {
    const [name, query] = location.hash.slice(1).split("?");
    const isSamples = name === "samples";
    page.hidden = isSamples;
    samples.hidden = !isSamples;
    for (const link of nav.children) {
      if (link.getAttribute("href") === (isSamples ? "#samples" : "#report")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!isSamples || browser) return;
    samples.replaceChildren(el("p", { class: "empty" }, "Unpacking the samples …"));
    const groups = await unpacked(document.getElementById("groups-data").textContent);
    const move = (set, at) => history.replaceState(null, "", `#samples?${new URLSearchParams({ set, at })}`);
    browser = new SampleBrowser(new MemorySource(report.sets, groups), move);
    samples.replaceChildren(el("h1", { hidden: true }, "Samples"), browser.element);
    const given = new URLSearchParams(query ?? "");
    await browser.openSet(given.get("set") ?? report.sets.at(-1)?.key, given.has("at") ? Number(given.get("at")) : null);
  }

  addEventListener("hashchange", route);
  await route();
  document.documentElement.dataset.ready = "true";
}

main();
