// One group: its prompt, and its reference and samples next to each other.

import { el, number, signed, visible } from "./dom.js";

const DIFF_MILLISECONDS = 200;

/** The nodes of a text, or of how it differs from an earlier one. */
function textNodes(text, search, earlier) {
  if (earlier !== undefined) {
    const parts = Diff.diffWordsWithSpace(earlier, text, { timeout: DIFF_MILLISECONDS });
    if (parts) {
      return parts.map((part) => {
        const nodes = visible(part.value, search);
        return part.added ? el("ins", {}, nodes) : part.removed ? el("del", {}, nodes) : nodes;
      });
    }
  }
  return visible(text, search);
}

function textBlock(part, search, earlier) {
  if (!part) return el("p", { class: "text muted" }, "(none)");
  const cut = part.cut ? el("p", { class: "cut" }, `${part.cut.toLocaleString("en-US")} more characters are in the table`) : null;
  const isEmpty = part.text.trim() === "" && earlier === undefined;
  return [isEmpty ? el("p", { class: "text muted" }, "(empty)") : el("div", { class: "text" }, textNodes(part.text, search, earlier)), cut];
}

/** Samples ordered by a reward, the best first; those without one come last. */
export function byReward(samples, reward) {
  const value = (sample) => sample.rewards[reward] ?? -Infinity;
  return samples.map((sample, index) => ({ sample, index })).sort((a, b) => value(b.sample) - value(a.sample) || a.index - b.index);
}

function facts(one, state) {
  const rows = [];
  for (const [name, value] of Object.entries(one.rewards)) {
    const status = one.statuses?.[name];
    const isOdd = status && status !== "ok";
    if (Object.keys(one.rewards).length > 1 || isOdd) rows.push([name, isOdd ? status.replace("_", " ") : number(value), isOdd]);
  }
  if (state.set.has_advantages || one.advantage !== null) {
    rows.push(["advantage", one.masked_by ? `masked: ${one.masked_by}` : one.advantage === null ? "not trained on" : signed(one.advantage), !!one.masked_by]);
  }
  if (one.weight !== null && one.weight !== undefined) rows.push(["weight in J", signed(one.weight, 4)]);
  rows.push(["tokens", number(one.tokens)]);
  if (one.finish && one.finish !== "stop") rows.push(["ended", one.finish === "length" ? "at the token limit" : "aborted", true]);
  return el("dl", {}, rows.map(([name, value, isOdd]) => [el("dt", {}, visible(name)), el("dd", { class: isOdd ? "odd" : null }, visible(String(value)))]));
}

function card(one, name, state, share, earlier) {
  const details = Object.entries(one.details ?? {});
  const isReference = name === "reference";
  const element = el(
    "article",
    { class: isReference ? "card reference" : "card", "aria-label": name },
    el("header", {}, el("span", { class: "name" }, name), el("span", { class: "reward" }, number(one.rewards[state.reward]))),
    facts(one, state),
    one.reasoning &&
      el(
        "details",
        { class: "thought", open: state.isReasoningOpen },
        el("summary", {}, `Reasoning, ${number(one.reasoning.text.length + (one.reasoning.cut ?? 0))} characters`),
        el("div", { class: "reasoning" }, textBlock(one.reasoning, state.search)),
      ),
    earlier && el("p", { class: "cut" }, earlier.label),
    textBlock(one.answer, state.search, earlier?.text),
    details.length > 0 &&
      el("details", {}, el("summary", {}, "Why this reward"), details.map(([reward, text]) => el("p", { class: "text muted" }, visible(`${reward}: ${text}`)))),
  );
  element.style.setProperty("--share", `${Math.round(100 * share)}%`);
  return element;
}

/**
 * The elements of a group.
 * state: set, reward, search, isReasoningOpen; counterpart (a group of the same prompt) and counterpartLabel to compare with.
 */
export function groupView(group, state) {
  const scored = group.samples.map((sample) => sample.rewards[state.reward]).filter((value) => value !== null && value !== undefined);
  const all = [...scored, group.reference?.rewards[state.reward]].filter((value) => value !== null && value !== undefined);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const share = (value) => (value === null || value === undefined || high === low ? 0 : (value - low) / (high - low));
  const others = state.counterpart ? byReward(state.counterpart.samples, state.reward) : [];
  const cards = byReward(group.samples, state.reward).map(({ sample, index }, rank) => {
    const other = others[rank];
    const label = other && `against sample ${other.index + 1} of ${state.counterpartLabel}, reward ${number(other.sample.rewards[state.reward])}`;
    const earlier = other?.sample.answer && sample.answer ? { text: other.sample.answer.text, label } : undefined;
    return card(sample, `sample ${index + 1}`, state, share(sample.rewards[state.reward]), earlier);
  });
  if (group.reference) cards.unshift(card(group.reference, "reference", state, share(group.reference.rewards[state.reward])));
  const mean = scored.length ? scored.reduce((sum, value) => sum + value, 0) / scored.length : null;
  const sizes = [`${group.samples.length} samples`];
  if (mean !== null) sizes.push(`mean reward ${number(mean)}`, `spread ${number(Math.max(...scored) - Math.min(...scored))}`);
  if (state.set.weighing) sizes.push(`weights in J of ${state.set.weighing.training}: β ${state.set.weighing.beta}, λ ${state.set.weighing.lambda_}`);
  return [
    group.tools && el("details", {}, el("summary", {}, "Tools"), textBlock(group.tools, state.search)),
    group.messages.map((message) =>
      el(
        "div",
        { class: "turn" },
        el("div", { class: "role" }, visible(message.role)),
        message.reasoning && el("details", {}, el("summary", {}, "Reasoning"), textBlock(message.reasoning, state.search)),
        textBlock(message.content, state.search),
      ),
    ),
    el("p", { class: "sizes" }, sizes.join(" · ")),
    el("div", { class: "cards" }, cards),
    group.rejected && el("details", {}, el("summary", {}, "The rejected answer of the source"), textBlock(group.rejected, state.search)),
    el(
      "details",
      {},
      el("summary", {}, "Where it lies"),
      el("p", { class: "text muted" }, `row ${number(group.at)} of ${state.set.sources.join(", ")}`),
      el("p", { class: "text muted" }, visible(`group ${group.group_id}\nprompt ${group.prompt_id}\npolicy ${group.policy}${group.metadata ? `\nmetadata ${group.metadata}` : ""}`)),
    ),
  ];
}
