// The page: tabs, and what fills them.

import { start_compare } from "./compare.js";
import { start_data } from "./data.js";
import { start_film } from "./film.js";
import { start_portrait } from "./portrait.js";
import { start_sliders } from "./sliders.js";
import { fire } from "./state.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

export function choose(tab) {
  for (const each of tabs) {
    const selected = each === tab;
    each.setAttribute("aria-selected", selected);
    each.tabIndex = selected ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !selected;
  }
  fire(tab.id);
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}

start_sliders();
start_film();
start_compare();
start_data();
await start_portrait();
document.body.dataset.ready = "true";
