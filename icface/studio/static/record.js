// A driver from the camera: recorded by the browser, sent as any other video.

import { tell } from "./api.js";
import { addDriver } from "./film.js";

const LONGEST = 60; // s
const element = (id) => document.getElementById(id);
let stream = null, recorder = null, timer = 0;

function close() {
  if (recorder) { recorder.onstop = null; recorder = null; }
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  clearInterval(timer);
  element("record-words").textContent = "";
  element("record-box").hidden = true;
}

async function open() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch {
    tell("The camera cannot be used: the browser has none, or did not allow it.");
    return;
  }
  element("record-view").srcObject = stream;
  await element("record-view").play();
  element("record-start").disabled = false;
  element("record-stop").disabled = true;
  element("record-box").hidden = false;
  element("record-start").focus();
}

function start() {
  const parts = [];
  recorder = new MediaRecorder(stream, { mimeType: "video/webm" });
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = async () => {
    close();
    await addDriver(new File(parts, "camera.webm", { type: "video/webm" }));
  };
  recorder.start();
  element("record-start").disabled = true;
  element("record-stop").disabled = false;
  element("record-stop").focus();
  const began = performance.now();
  timer = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    element("record-words").textContent = `${seconds.toFixed(0)} s`;
    if (seconds >= LONGEST) recorder.stop();
  }, 500);
}

export function start_record() {
  element("record").addEventListener("click", open);
  element("record-start").addEventListener("click", start);
  element("record-stop").addEventListener("click", () => recorder?.stop());
  element("record-close").addEventListener("click", close);
}
