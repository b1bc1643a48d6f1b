// Curves on a canvas, in the page's own colours.

const MARGIN = { left: 46, right: 10, top: 10, bottom: 26 };

export class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.low = 0;
    this.high = 1;
    this.count = 1;
  }

  // lines: [{ values, dashed }]; marks: indices shown as ticks; cursor: index or null.
  draw({ lines, timestamp, low, high, unit = "", marks = [], cursor = null }) {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth || 600, height = canvas.clientHeight || 240;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    Object.assign(this, { low, high, count: timestamp.length, width, height });
    pen.font = "12px system-ui, sans-serif";
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--faint");
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const value = low + part * (high - low), y = this.y(value);
      pen.beginPath();
      pen.moveTo(MARGIN.left, y);
      pen.lineTo(width - MARGIN.right, y);
      pen.stroke();
      pen.textAlign = "right";
      pen.fillText(`${value.toFixed(1)}${unit}`, MARGIN.left - 6, y + 4);
    }
    pen.textAlign = "center";
    for (const part of [0, 0.5, 1]) {
      const index = Math.round(part * (timestamp.length - 1));
      pen.fillText(`${(timestamp[index] ?? 0).toFixed(1)} s`, Math.min(width - 24, this.x(index)), height - 8);
    }
    pen.fillStyle = colour("--accent");
    for (const index of marks) pen.fillRect(this.x(index) - 1, height - MARGIN.bottom - 6, 2, 6);
    for (const { values, dashed } of lines) {
      pen.strokeStyle = colour(dashed ? "--faint" : "--accent");
      pen.lineWidth = dashed ? 1.5 : 2;
      pen.setLineDash(dashed ? [5, 4] : []);
      pen.beginPath();
      let drawing = false;
      values.forEach((value, index) => {
        if (value === null) { drawing = false; return; }
        if (drawing) pen.lineTo(this.x(index), this.y(value));
        else pen.moveTo(this.x(index), this.y(value));
        drawing = true;
      });
      pen.stroke();
      pen.setLineDash([]);
    }
    if (cursor !== null) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(this.x(cursor), MARGIN.top);
      pen.lineTo(this.x(cursor), height - MARGIN.bottom);
      pen.stroke();
    }
  }

  x(index) {
    const span = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + (this.count > 1 ? index / (this.count - 1) : 0) * span;
  }

  y(value) {
    const span = this.height - MARGIN.top - MARGIN.bottom;
    const inside = Math.min(this.high, Math.max(this.low, value));
    return MARGIN.top + (1 - (inside - this.low) / (this.high - this.low)) * span;
  }

  // The row and value under a pointer.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const up = 1 - (event.clientY - box.top - MARGIN.top) / (box.height - MARGIN.top - MARGIN.bottom);
    const within = (part) => Math.min(1, Math.max(0, part));
    return { row: Math.round(within(share) * (this.count - 1)), value: this.low + within(up) * (this.high - this.low) };
  }
}
