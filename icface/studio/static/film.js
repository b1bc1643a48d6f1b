// The video tab: drivers, which region follows which, curves that can be edited, and the film.

import { get, guarded, post, send, tell } from "./api.js";
import { Plot } from "./plot.js";
import { chosen, on, option, ready, state } from "./state.js";

const REGIONS = ["pose", "brows", "eyes", "nose", "mouth"];
const POLL = 400; // ms
const element = (id) => document.getElementById(id);
const drivers = new Map(); // id -> { name, state, seconds }
const edits = { gain: {}, offset: {}, drawn: {} };
let curves = null, plot = null, cursor = 0, dragging = null, filmTask = null, timer = 0, asked = 0;

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const attribute = () => element("curve").value;
const slider = () => state.model.sliders.find((each) => each.name === attribute());

export async function followDriver(id, name) {
  const entry = { name, state: "working", seconds: null };
  drivers.set(id, entry);
  const line = document.createElement("li");
  line.textContent = `${name}: waiting …`;
  element("drivers").append(line);
  for (;;) {
    const found = await guarded(() => get(`/api/drivers/${id}`));
    if (!found || found.state === "failed") {
      drivers.delete(id);
      line.remove();
      if (found) tell(found.error);
      return;
    }
    if (found.state === "done") {
      Object.assign(entry, { state: "done", seconds: found.seconds });
      line.textContent = `${name}: ${found.seconds.toFixed(1)} s`;
      break;
    }
    line.textContent = `${name}: measuring${found.total ? ` ${found.done} of ${found.total}` : ""} …`;
    await wait(POLL);
  }
  const first = [...drivers.values()].filter((each) => each.state === "done").length === 1;
  for (const region of REGIONS) {
    element(`follow-${region}`).append(option(id, name));
    if (first) element(`follow-${region}`).value = id;
  }
  update();
}

// Sends a file and follows its measuring.
export async function addDriver(file) {
  if (!state.model) return;
  const query = new URLSearchParams({ model: state.model.reference });
  const added = await guarded(() => send(`/api/drivers?${query}`, file));
  if (added) { tell(""); await followDriver(added.driver, file.name); }
}

function plan() {
  const follows = {};
  for (const region of REGIONS) {
    const id = element(`follow-${region}`).value;
    if (id) follows[region] = id;
  }
  const number = (id) => (element(id).value === "" ? null : Number(element(id).value));
  return { ...chosen(), follows, start: number("start"), end: number("end"), relative: element("relative").checked, map_attributes: element("map-attributes").checked, ...edits };
}

function usable() {
  return ready() && REGIONS.some((region) => element(`follow-${region}`).value);
}

async function update() {
  element("make-film").disabled = !usable();
  if (!usable()) { curves = null; element("film-command").textContent = ""; return; }
  asked += 1;
  const mine = asked;
  const found = await guarded(() => post("/api/curves", plan()));
  if (!found || mine !== asked) return; // a newer request is under way
  curves = found;
  element("film-command").textContent = found.command;
  element("film-notice").textContent = found.notices.join(" ");
  cursor = Math.min(cursor, found.timestamp.length - 1);
  draw();
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(update, 150);
}

function draw() {
  if (!curves || element("panel-video").hidden || !attribute()) return;
  const { before, after } = curves.curves[attribute()];
  const { low, high, unit } = slider();
  const lines = [{ values: before, dashed: true }, { values: after, dashed: false }];
  plot.draw({ lines, timestamp: curves.timestamp, low, high, unit, cursor });
}

function drawTo(row, value) {
  const { low, high } = slider();
  const rounded = Math.round(Math.min(high, Math.max(low, value)) * 100) / 100;
  const points = (edits.drawn[attribute()] ||= {});
  const from = dragging ?? { row, value: rounded };
  for (let each = Math.min(from.row, row); each <= Math.max(from.row, row); each += 1) {
    const share = row === from.row ? 1 : (each - from.row) / (row - from.row);
    points[each] = Math.round((from.value + share * (rounded - from.value)) * 100) / 100;
    curves.curves[attribute()].after[each] = points[each];
  }
  cursor = row;
  draw();
  element("plot-words").textContent = `${attribute()} at ${curves.timestamp[row].toFixed(2)} s: ${points[row]}${slider().unit}`;
  return { row, value: rounded };
}

function startDrawing() {
  const canvas = element("plot");
  const drawable = () => curves && slider() && slider().trained;
  canvas.addEventListener("pointerdown", (event) => {
    if (!drawable()) return;
    canvas.setPointerCapture(event.pointerId);
    const { row, value } = plot.at(event);
    dragging = drawTo(row, value);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragging) return;
    const { row, value } = plot.at(event);
    dragging = drawTo(row, value);
  });
  const end = () => { if (dragging) { dragging = null; update(); } };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("keydown", (event) => {
    if (!drawable()) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    cursor = Math.min(curves.timestamp.length - 1, Math.max(0, cursor + step[0]));
    const value = curves.curves[attribute()].after[cursor] ?? slider().neutral;
    if (step[1]) { drawTo(cursor, value + step[1] * slider().step * 2); later(); }
    else {
      draw();
      element("plot-words").textContent = `${attribute()} at ${curves.timestamp[cursor].toFixed(2)} s: ${value}${slider().unit}`;
    }
  });
}

async function makeFilm() {
  const started = await guarded(() => post("/api/films", plan()));
  if (!started) return;
  tell("");
  filmTask = started.film;
  element("make-film").disabled = true;
  element("film-progress").hidden = false;
  for (;;) {
    const found = await guarded(() => get(`/api/films/${filmTask}`));
    if (!found || found.state === "failed") {
      element("film-state").textContent = "";
      if (found) tell(found.error);
      break;
    }
    element("film-progress").value = found.total ? found.done / found.total : 0;
    element("film-state").textContent = `${found.done} of ${found.total} frames`;
    if (found.state === "done") {
      element("film").src = element("film-mp4").href = `/api/films/${filmTask}/film.mp4`;
      element("film-csv").href = `/api/films/${filmTask}/curves.csv`;
      element("film-box").hidden = false;
      element("film-state").textContent = `${found.total} frames: done`;
      break;
    }
    await wait(POLL);
  }
  element("film-progress").hidden = true;
  element("make-film").disabled = !usable();
}

function modelChanged() {
  const kept = attribute();
  const trained = state.model.sliders.filter((each) => each.trained);
  const text = (each) => (each.unit ? each.title : `${each.name} ${each.title}`);
  element("curve").replaceChildren(...trained.map((each) => option(each.name, text(each))));
  if (trained.some((each) => each.name === kept)) element("curve").value = kept;
  curveChanged();
}

function curveChanged() {
  element("gain").value = edits.gain[attribute()] ?? 1;
  element("offset").value = edits.offset[attribute()] ?? 0;
  draw();
}

function editChanged(kind, neutral) {
  const value = Number(element(kind).value);
  if (element(kind).value === "" || value === neutral) delete edits[kind][attribute()];
  else edits[kind][attribute()] = value;
  later();
}

export function start_film() {
  plot = new Plot(element("plot"));
  for (const region of REGIONS) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.id = `follow-${region}`;
    select.append(option("", "the portrait's own"));
    select.addEventListener("change", update);
    label.append(`${region} `, select);
    element("follows").append(label);
  }
  element("make-film").disabled = true;
  element("driver-upload").addEventListener("change", async () => {
    const file = element("driver-upload").files[0];
    if (file) await addDriver(file);
    element("driver-upload").value = "";
  });
  for (const id of ["start", "end", "relative", "map-attributes"]) {
    // Rows are counted from the trimmed start: what was drawn would move.
    element(id).addEventListener("change", () => { edits.drawn = {}; update(); });
  }
  element("curve").addEventListener("change", curveChanged);
  element("gain").addEventListener("input", () => editChanged("gain", 1));
  element("offset").addEventListener("input", () => editChanged("offset", 0));
  element("undraw").addEventListener("click", () => { delete edits.drawn[attribute()]; update(); });
  element("make-film").addEventListener("click", makeFilm);
  window.addEventListener("resize", draw);
  startDrawing();
  on("model", modelChanged);
  on("portrait", update);
  on("tab-video", update);
}
