// The sliders tab: one slider an attribute, grouped by region, a pad for yaw and pitch, presets.

import { guarded, post } from "./api.js";
import { Live } from "./live.js";
import { chosen, fire, on, ready, state } from "./state.js";

const PRESET_SHARE = 0.8; // of the way from neutral to what training has seen of it
const REGIONS = ["pose", "brows", "eyes", "nose", "mouth", "other"];
const element = (id) => document.getElementById(id);
const rows = new Map(); // name -> { slider, input, output, row }
let commandTimer = 0;

const live = new Live(element("result"), (blob, milliseconds) => {
  element("timing").textContent = `${Math.round(milliseconds)} ms`;
  element("save").href = element("result").src;
  element("save").hidden = false;
});

export function setValues(values) {
  state.values = { ...state.values, ...values };
  fire("values");
}

function reset(names) {
  state.values = Object.fromEntries(Object.entries(state.values).filter(([name]) => !names.includes(name)));
  fire("values");
}

function start(slider) {
  const own = state.own[slider.name];
  const value = own === null || own === undefined ? slider.neutral : own;
  return Math.min(slider.high, Math.max(slider.low, value));
}

function shownValue(slider) {
  return slider.name in state.values ? state.values[slider.name] : start(slider);
}

function build() {
  rows.clear();
  const groups = element("groups");
  groups.replaceChildren();
  for (const region of REGIONS) {
    const sliders = state.model.sliders.filter((slider) => slider.region === region);
    if (sliders.length) groups.append(group(region, sliders));
  }
  const presets = element("presets");
  presets.replaceChildren(...state.model.presets.map(presetButton));
}

function group(region, sliders) {
  const set = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = region;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "group-head";
  button.textContent = `Reset ${region}`;
  button.addEventListener("click", () => reset(sliders.map((slider) => slider.name)));
  set.append(legend, button);
  if (region === "pose") set.append(pad());
  set.append(...sliders.map(sliderRow));
  return set;
}

function sliderRow(slider) {
  const row = document.createElement("div");
  row.className = "slider";
  const label = document.createElement("label");
  label.className = "name";
  label.htmlFor = `slider-${slider.name}`;
  label.append(slider.unit ? slider.title : `${slider.name} ${slider.title} `);
  const words = document.createElement("small");
  words.textContent = ` ${slider.words}`;
  label.append(words);
  const output = document.createElement("output");
  output.htmlFor = `slider-${slider.name}`;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "↺";
  button.setAttribute("aria-label", `Reset ${slider.name}`);
  button.addEventListener("click", () => reset([slider.name]));
  const input = document.createElement("input");
  Object.assign(input, { type: "range", id: `slider-${slider.name}`, min: slider.low, max: slider.high, step: slider.step });
  input.disabled = button.disabled = !slider.trained;
  input.addEventListener("input", (event) => {
    state.since = event.timeStamp;
    setValues({ [slider.name]: Number(input.value) });
  });
  row.append(label, output, button, input);
  if (!slider.trained) {
    const reason = document.createElement("span");
    reason.className = "reason";
    reason.id = `reason-${slider.name}`;
    reason.textContent = slider.reason;
    input.setAttribute("aria-describedby", reason.id);
    row.append(reason);
  }
  rows.set(slider.name, { slider, input, output, row });
  return row;
}

function pad() {
  const area = document.createElement("div");
  area.id = "pad";
  area.title = "Drag to turn the head: yaw and pitch";
  area.setAttribute("aria-hidden", "true"); // the two sliders below do the same by keyboard
  const dot = document.createElement("div");
  dot.id = "pad-dot";
  area.append(dot);
  const move = (event) => {
    if (event.type === "pointerdown") area.setPointerCapture(event.pointerId);
    else if (!area.hasPointerCapture(event.pointerId)) return;
    const box = area.getBoundingClientRect();
    const share = (position, size) => Math.min(1, Math.max(0, position / size));
    const x = share(event.clientX - box.left, box.width), y = share(event.clientY - box.top, box.height);
    const yaw = rows.get("yaw").slider, pitch = rows.get("pitch").slider;
    const at = (slider, part) => Math.round((slider.low + part * (slider.high - slider.low)) * 2) / 2;
    const inside = (slider, value) => Math.min(slider.high, Math.max(slider.low, value));
    state.since = event.timeStamp;
    // Positive yaw turns to the left of the picture, positive pitch looks down.
    setValues({ yaw: inside(yaw, at(yaw, 1 - x)), pitch: inside(pitch, at(pitch, y)) });
  };
  area.addEventListener("pointerdown", move);
  area.addEventListener("pointermove", move);
  return area;
}

function presetButton(preset) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = preset.name;
  const parts = preset.units.map((unit) => unit.replace(/^AU0?/, "")).join("+");
  const without = preset.left_out.length ? `; not trained and left out: ${preset.left_out.join(", ")}` : "";
  button.title = `FACS ${parts}${without}`;
  button.addEventListener("click", () => {
    const values = {};
    for (const { slider } of rows.values()) {
      if (slider.unit || !slider.trained) continue;
      const value = slider.neutral + PRESET_SHARE * (slider.full - slider.neutral);
      const inside = Math.min(slider.high, Math.max(slider.low, Math.round(value * 100) / 100));
      values[slider.name] = preset.units.includes(slider.name) ? inside : slider.neutral;
    }
    setValues(values);
  });
  return button;
}

function show() {
  for (const { slider, input, output, row } of rows.values()) {
    const value = shownValue(slider);
    input.value = value;
    output.textContent = `${slider.unit ? value.toFixed(1) : value.toFixed(2)}${slider.unit}`;
    input.setAttribute("aria-valuetext", output.textContent);
    row.classList.toggle("edited", slider.name in state.values);
  }
  const dot = element("pad-dot");
  if (dot && rows.has("yaw") && rows.has("pitch")) {
    const part = (slider) => (shownValue(slider) - slider.low) / (slider.high - slider.low);
    dot.style.left = `${100 * (1 - part(rows.get("yaw").slider))}%`;
    dot.style.top = `${100 * part(rows.get("pitch").slider)}%`;
  }
}

function update() {
  show();
  if (!ready()) return;
  live.ask({ ...chosen(), values: state.values }, state.since || performance.now());
  state.since = 0;
  clearTimeout(commandTimer);
  commandTimer = setTimeout(async () => {
    const said = await guarded(() => post("/api/command", { ...chosen(), values: state.values }));
    if (said) element("still-command").textContent = said.command;
  }, 300);
}

function portraitChanged() {
  const query = new URLSearchParams(chosen());
  element("source").src = `/api/source.png?${query}`;
  element("neutral").src = `/api/neutral.png?${query}`;
  update();
}

export function start_sliders() {
  element("reset-all").addEventListener("click", () => { state.values = {}; fire("values"); });
  element("to-neutral").addEventListener("click", () => {
    const trained = [...rows.values()].filter(({ slider }) => slider.trained);
    setValues(Object.fromEntries(trained.map(({ slider }) => [slider.name, slider.neutral])));
  });
  on("model", () => { build(); show(); });
  on("portrait", portraitChanged);
  on("values", update);
}
