// The compare tab: two models, the same portrait and sliders, and their difference.

import { guarded, post } from "./api.js";
import { Live } from "./live.js";
import { on, ready, state } from "./state.js";

const ENLARGED = 4;
const element = (id) => document.getElementById(id);
const trained = new Map(); // model reference -> names that can be set
const live = { first: new Live(element("first-picture"), difference), second: new Live(element("second-picture"), difference) };

async function settable(reference) {
  if (!trained.has(reference)) {
    const model = await guarded(() => post("/api/models", { reference }));
    if (!model) return null;
    trained.set(reference, new Set(model.sliders.filter((slider) => slider.trained).map((slider) => slider.name)));
  }
  return trained.get(reference);
}

async function update() {
  if (element("panel-compare").hidden || !ready()) return;
  for (const side of ["first", "second"]) {
    const reference = element(side).value;
    const names = await settable(reference);
    if (!names) return;
    const values = Object.fromEntries(Object.entries(state.values).filter(([name]) => names.has(name)));
    live[side].ask({ model: reference, portrait: state.portrait.portrait, face: state.face, values });
  }
}

function pixels(image, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, size, size);
  return pen.getImageData(0, 0, size, size);
}

function difference() {
  const first = element("first-picture"), second = element("second-picture");
  if (!first.naturalWidth || !second.naturalWidth) return;
  const size = Math.max(first.naturalWidth, second.naturalWidth);
  const one = pixels(first, size), other = pixels(second, size);
  let sum = 0;
  for (let index = 0; index < one.data.length; index += 1) {
    if (index % 4 === 3) continue; // opacity
    const apart = Math.abs(one.data[index] - other.data[index]);
    sum += apart;
    one.data[index] = Math.min(255, apart * ENLARGED);
  }
  const canvas = element("difference");
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(one, 0, 0);
  const mean = sum / (size * size * 3);
  element("difference-words").textContent = `Mean difference: ${mean.toFixed(2)} of 255.`;
}

export function start_compare() {
  on("start", () => { if (state.models.length > 1) element("second").selectedIndex = 1; });
  for (const side of ["first", "second"]) element(side).addEventListener("change", update);
  on("tab-compare", update);
  on("portrait", update);
  on("values", update);
}
