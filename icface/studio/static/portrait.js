// Choosing the portrait: upload, camera, sample; and which of several faces.

import { get, guarded, post, send, tell } from "./api.js";
import { chosen, fire, option, ready, state } from "./state.js";

const element = (id) => document.getElementById(id);
let stream = null;
let waiting = null; // a portrait that was chosen before any model was open

// Finds the face of a newly chosen portrait or with a newly chosen model. An unusable portrait leaves the old one.
export async function usePortrait(portrait, face = 0) {
  if (!state.model) {
    waiting = { portrait, face };
    element("portrait-name").textContent = `${portrait.name}: waits for a model`;
    return false;
  }
  const before = { portrait: state.portrait, face: state.face };
  state.portrait = portrait;
  state.face = face;
  element("portrait-name").textContent = `${portrait.name}: finding the face …`;
  const found = await guarded(() => post("/api/prepare", chosen()));
  if (!found) {
    Object.assign(state, before);
    element("portrait-name").textContent = before.portrait ? before.portrait.name : "no portrait yet";
    return false;
  }
  tell("");
  state.own = found.own;
  state.values = {};
  element("portrait-name").textContent = `${portrait.name}, ${portrait.width} × ${portrait.height}`;
  element("face").replaceChildren(...Array.from({ length: found.faces }, (_, index) => option(index, `${index + 1} of ${found.faces}`)));
  element("face").value = state.face;
  element("face-box").hidden = found.faces < 2;
  fire("portrait");
  return true;
}

async function openModel(reference) {
  element("model-facts").textContent = "opening the model …";
  const model = await guarded(() => post("/api/models", { reference }));
  element("model-facts").textContent = "";
  if (!model) {
    if (state.model) element("model").value = state.model.reference;
    return;
  }
  state.model = model;
  element("model").value = model.reference;
  element("model-facts").textContent = `${model.size} px, licence: ${model.licence}`;
  const values = state.values;
  fire("model");
  const asked = waiting ?? { portrait: state.portrait, face: state.face };
  waiting = null;
  if (asked.portrait && (await usePortrait(asked.portrait, asked.face))) {
    const known = model.sliders.filter((slider) => slider.trained).map((slider) => slider.name);
    state.values = Object.fromEntries(Object.entries(values).filter(([name]) => known.includes(name)));
    fire("values");
  }
}

function closeCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera-box").hidden = true;
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch {
    tell("The camera cannot be used: the browser has none, or did not allow it.");
    return;
  }
  element("camera-view").srcObject = stream;
  await element("camera-view").play();
  element("camera-box").hidden = false;
  element("shoot").focus();
}

async function shoot() {
  const view = element("camera-view");
  const canvas = document.createElement("canvas");
  canvas.width = view.videoWidth;
  canvas.height = view.videoHeight;
  canvas.getContext("2d").drawImage(view, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  closeCamera();
  const portrait = await guarded(() => send("/api/portraits", new File([blob], "camera.png")));
  if (portrait) await usePortrait(portrait);
}

export async function start_portrait() {
  element("upload").addEventListener("change", async () => {
    const file = element("upload").files[0];
    if (!file) return;
    const portrait = await guarded(() => send("/api/portraits", file));
    if (portrait) await usePortrait(portrait);
    element("upload").value = ""; // the same file may be chosen again
  });
  const found = await guarded(() => get("/api/state"));
  if (!found) return;
  state.models = found.models;
  state.libraries = found.libraries;
  state.live = found.live;
  for (const id of ["model", "first", "second"]) {
    element(id).replaceChildren(...found.models.map((model) => option(model.reference, model.label)));
  }
  element("sample").append(...found.samples.map((name) => option(name, name)));
  element("model").addEventListener("change", () => openModel(element("model").value));
  element("sample").addEventListener("change", async () => {
    const name = element("sample").value;
    const portrait = name && (await guarded(() => post(`/api/samples/${encodeURIComponent(name)}`, {})));
    if (portrait) await usePortrait(portrait);
    element("sample").value = "";
  });
  element("face").addEventListener("change", () => ready() && usePortrait(state.portrait, Number(element("face").value)));
  element("camera").addEventListener("click", openCamera);
  element("camera-off").addEventListener("click", closeCamera);
  element("shoot").addEventListener("click", shoot);
  fire("start");
  if (found.models.length) await openModel(found.models[0].reference);
  if (found.live) await usePortrait(found.live);
}
