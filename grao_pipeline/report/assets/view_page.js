// `grao view`: the sample browser alone, which follows a run that is going on.

import { SampleBrowser } from "./browser.js";
import { el, visible } from "./dom.js";
import { ServerSource } from "./server_source.js";

const EVERY = 2000; // milliseconds between two looks at the directory

async function main() {
  const source = new ServerSource();
  const app = document.getElementById("app");
  await source.look();
  const move = (set, at) => history.replaceState(null, "", `#${new URLSearchParams({ set, at })}`);
  const browser = new SampleBrowser(source, move);
  const message = el("span", { class: "muted", role: "status" });
  const header = el("header", { class: "top" }, el("strong", {}, "Groups"), message);
  app.replaceChildren(header, el("main", { "aria-label": "Samples" }, browser.element));
  document.documentElement.style.setProperty("--top", `${header.offsetHeight}px`);
  const given = new URLSearchParams(location.hash.slice(1));
  await browser.openSet(given.get("set") ?? source.sets.at(-1)?.key, given.has("at") ? Number(given.get("at")) : null);
  document.documentElement.dataset.ready = "true";

  async function follow() {
    try {
      const before = browser.set?.version;
      if (await source.look()) {
        browser.listSets();
        if (browser.set && browser.set.version !== before) await browser.grown();
        else if (!browser.set && source.sets.length) await browser.openSet(source.sets[0].key);
      }
      message.replaceChildren(...visible(source.problems.join(" ")));
    } catch (error) {
      message.replaceChildren("The server has stopped.");
    }
    setTimeout(follow, EVERY);
  }
  setTimeout(follow, EVERY);
}

main();
