// The page: tabs, and what fills them.

import { start_compare } from "./compare.js";
import { start_data } from "./data.js";
import { start_film } from "./film.js";
import { start_live } from "./live_tab.js";
import { start_portrait } from "./portrait.js";
import { start_record } from "./record.js";
import { start_sliders } from "./sliders.js";
import { fire, state } from "./state.js";

const all = [...document.querySelectorAll('[role="tab"]')];

export function choose(tab) {
  for (const each of all) {
    const selected = each === tab;
    each.setAttribute("aria-selected", selected);
    each.tabIndex = selected ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !selected;
  }
  fire(tab.id);
}

for (const tab of all) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = all.filter((each) => !each.hidden);
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}

start_sliders();
start_film();
start_compare();
start_data();
start_live();
start_record();
await start_portrait();
if (state.live) choose(document.getElementById("tab-live"));
document.body.dataset.ready = "true";
