// The data tab: a data set's clips with their curves, filtered by attribute.

import { get, guarded, post, tell } from "./api.js";
import { followDriver } from "./film.js";
import { Plot } from "./plot.js";
import { usePortrait } from "./portrait.js";
import { on, option, state } from "./state.js";

const element = (id) => document.getElementById(id);
let clip = null, name = "", plot = null;

const base = () => `/api/libraries/${encodeURIComponent(element("library").value)}`;

async function list(event) {
  if (event) event.preventDefault();
  const query = new URLSearchParams({ filter: element("filter").value });
  const found = await guarded(() => get(`${base()}?${query}`));
  if (!found) return;
  tell("");
  const shown = found.clips.length < found.total ? `, the first ${found.clips.length} shown` : "";
  element("clip-count").textContent = `${found.total} clips${shown}`;
  element("clips").replaceChildren(...found.clips.map((each) => {
    const line = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${each.clip} (${each.split}, ${each.frames} frames)`;
    button.addEventListener("click", () => open(each.clip, button));
    line.append(button);
    return line;
  }));
}

async function open(chosen, button) {
  const query = new URLSearchParams({ clip: chosen, filter: element("filter").value });
  const found = await guarded(() => get(`${base()}/clip?${query}`));
  if (!found) return;
  for (const each of element("clips").querySelectorAll("button")) each.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  clip = found;
  name = chosen;
  element("clip-view").hidden = false;
  element("clip-title").textContent = chosen;
  const kept = element("clip-curve").value;
  element("clip-curve").replaceChildren(...Object.keys(found.curves).map((each) => option(each, each)));
  if (kept in found.curves) element("clip-curve").value = kept;
  element("clip-position").max = found.frame.length - 1;
  const match = element("filter").value.trim() ? found.matches.indexOf(true) : 0;
  element("clip-position").value = Math.max(0, match);
  showFrame();
}

function position() {
  return Number(element("clip-position").value);
}

function showFrame() {
  const frame = clip.frame[position()];
  const query = new URLSearchParams({ clip: name, frame });
  element("clip-frame").src = `${base()}/frame.png?${query}`;
  draw();
}

function draw() {
  if (!clip || element("panel-data").hidden) return;
  const values = clip.curves[element("clip-curve").value];
  if (!values) return;
  const slider = state.model?.sliders.find((each) => each.name === element("clip-curve").value);
  const known = values.filter((value) => value !== null);
  const low = Math.min(slider?.neutral ?? 0, ...known), high = Math.max(low + 0.5, ...known);
  const filtered = element("filter").value.trim() !== "";
  const marks = filtered ? clip.matches.flatMap((match, index) => (match ? [index] : [])) : [];
  plot.draw({ lines: [{ values, dashed: false }], timestamp: clip.timestamp, low, high, unit: slider?.unit ?? "", marks, cursor: position() });
  const value = values[position()];
  element("clip-words").textContent = `frame ${clip.frame[position()]}, ${element("clip-curve").value} ${value ?? "not measured"}`;
}

function nextMatch() {
  const after = clip.matches.findIndex((match, index) => match && index > position());
  const next = after >= 0 ? after : clip.matches.indexOf(true);
  if (next < 0) { tell("No frame of this clip fulfils all conditions at once."); return; }
  element("clip-position").value = next;
  showFrame();
}

export function start_data() {
  plot = new Plot(element("clip-plot"));
  element("filter-form").addEventListener("submit", list);
  element("library").addEventListener("change", () => list());
  element("clip-position").addEventListener("input", showFrame);
  element("clip-curve").addEventListener("change", draw);
  element("next-match").addEventListener("click", nextMatch);
  element("frame-as-portrait").addEventListener("click", async () => {
    const portrait = await guarded(() => post(`${base()}/portrait`, { clip: name, frame: clip.frame[position()] }));
    if (portrait && (await usePortrait(portrait))) document.getElementById("tab-sliders").click();
  });
  element("clip-as-driver").addEventListener("click", async () => {
    const added = await guarded(() => post(`${base()}/driver`, { clip: name }));
    if (!added) return;
    document.getElementById("tab-video").click();
    await followDriver(added.driver, name);
  });
  on("start", () => {
    if (!state.libraries.length) return;
    element("library").append(...state.libraries.map((each) => option(each, each)));
    element("library-box").hidden = false;
    element("no-library").hidden = true;
  });
  on("tab-data", () => {
    if (state.libraries.length && !element("clips").children.length) list();
    else draw();
  });
}
