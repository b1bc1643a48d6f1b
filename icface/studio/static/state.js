// What the tabs share: the model, the portrait, the values that were set.

const listeners = new Map();

export const state = {
  models: [],
  live: null,       // the portrait that follows a driver from the start
  model: null,      // what the server says of the open model
  portrait: null,   // { portrait, name, width, height }
  face: 0,
  own: {},          // the portrait's own values by slider name
  values: {},       // values that were set; all others are the portrait's own
};

export function on(event, listener) {
  listeners.set(event, [...(listeners.get(event) || []), listener]);
}

export function fire(event) {
  for (const listener of listeners.get(event) || []) listener();
}

export function chosen() {
  return { model: state.model.reference, portrait: state.portrait.portrait, face: state.face };
}

export function ready() {
  return state.model !== null && state.portrait !== null;
}

// An <option> whose text comes from elsewhere.
export function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}
