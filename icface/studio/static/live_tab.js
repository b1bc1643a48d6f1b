// The live tab: what the portrait makes of a camera or a film, picture by picture as fast as they come.

import { guarded, post, tell } from "./api.js";
import { on, state } from "./state.js";

const STATUS = 1000; // ms
const element = (id) => document.getElementById(id);
let running = false, number = 0;

async function follow() {
  if (running) return;
  running = true;
  status();
  while (running && !element("panel-live").hidden) {
    const response = await fetch(`/api/live/picture.jpg?after=${number}`).catch(() => null);
    if (!response) { tell("The server does not answer. Is `icface animate --live` still running?"); break; }
    if (response.status !== 200) continue; // none came within a second
    number = Number(response.headers.get("x-number"));
    const image = element("live-picture"), old = image.src;
    image.src = URL.createObjectURL(await response.blob());
    await image.decode().catch(() => {});
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
    image.dataset.number = number;
  }
  running = false;
}

async function status() {
  while (running) {
    const found = await fetch("/api/live").then((response) => response.json()).catch(() => null);
    if (found) {
      element("live-words").textContent = `${found.driver}: ${found.rate.toFixed(1)} pictures a second, ${Math.round(1000 * found.delay)} ms behind (${found.state})`;
      element("live-error").textContent = found.error;
      element("live-start").disabled = found.state === "working";
      element("live-stop").disabled = found.state !== "working";
      if (found.state !== "working") running = false;
    }
    await new Promise((resolve) => setTimeout(resolve, STATUS));
  }
}

export function start_live() {
  element("live-start").addEventListener("click", async () => { if (await guarded(() => post("/api/live/start", {}))) follow(); });
  element("live-stop").addEventListener("click", () => guarded(() => post("/api/live/stop", {})));
  on("start", () => { element("tab-live").hidden = !state.live; });
  on("tab-live", follow);
}
