// One picture that follows the newest request: at most one is under way and one waits; the last one always wins.

import { picture, tell } from "./api.js";

export class Live {
  constructor(image, onShown = () => {}) {
    this.image = image;
    this.onShown = onShown;
    this.view = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.sequence = 0;
    this.shown = 0;
    this.waiting = null;
    this.busy = false;
  }

  // `body` says which picture; `since` is when the visitor asked for it.
  ask(body, since = performance.now()) {
    this.sequence += 1;
    this.waiting = { body: { ...body, view: this.view, sequence: this.sequence }, since };
    this.image.setAttribute("aria-busy", "true"); // until the newest request is shown or refused
    if (!this.busy) this.run();
  }

  async run() {
    this.busy = true;
    while (this.waiting) {
      const { body, since } = this.waiting;
      this.waiting = null;
      try {
        const blob = await picture("/api/picture", body);
        if (blob && body.sequence > this.shown) {
          this.shown = body.sequence;
          await this.show(blob, since);
        }
      } catch (error) {
        tell(error.message);
      }
    }
    this.busy = false;
    this.image.setAttribute("aria-busy", "false");
  }

  async show(blob, since) {
    const old = this.image.src;
    this.image.src = URL.createObjectURL(blob);
    await this.image.decode().catch(() => {});
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
    this.image.dataset.sequence = this.shown;
    this.onShown(blob, performance.now() - since);
  }
}
