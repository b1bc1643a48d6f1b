// Talking to the server: every failure becomes a sentence at the top of the page, and the page goes on.

const box = document.getElementById("message");
box.querySelector("button").addEventListener("click", () => { box.hidden = true; });

export function tell(text) {
  box.querySelector("span").textContent = text;
  box.hidden = !text;
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is `icface studio` still running?");
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error || `The server answered ${response.status}.`);
  }
  return response;
}

export async function get(path) {
  return (await answer(path)).json();
}

export async function post(path, body) {
  return (await answer(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
}

// A picture as a Blob; null when a newer request overtook this one.
export async function picture(path, body) {
  const response = await answer(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return response.status === 204 ? null : response.blob();
}

export async function send(path, file) {
  const headers = { "content-type": "application/octet-stream", "x-file-name": encodeURIComponent(file.name || "camera.png") };
  return (await answer(path, { method: "POST", headers, body: file })).json();
}

// Runs work; its failure is told on the page. Returns undefined then.
export async function guarded(work) {
  try {
    const value = await work();
    return value;
  } catch (error) {
    tell(error.message);
    return undefined;
  }
}
