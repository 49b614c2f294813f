// The map: two canvases, and the moves of its reader by mouse, touch and keys.
//
// In: the clients, the land. Out: frames, when `draw` is called; the client that the reader points at. The land is drawn
// again only when the view moves. Up to FEW clients are circles, with their ids up to LABELS; more are stamped into one
// reused ImageData, which is 5 times as fast as fillRect.
//
// The view is {x, y, scale}: the world units at the centre, and the CSS pixels of the world's width.

import { latitudeAt, project } from './world.js';

// Okabe and Ito's colours, which colour-blind readers distinguish. Black is missing, which a dark map would hide.
export const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#f0e442'];
export const colourOf = server => COLOURS[server % COLOURS.length];
const ABGR = COLOURS.map(colour => 0xff000000 | parseInt(colour.slice(5, 7) + colour.slice(3, 5) + colour.slice(1, 3), 16));
const FEW = 400, LABELS = 40, LABEL_LENGTH = 28;
const SCALE_MAX = 2 ** 24, FIT_SCALE_MAX = 2 ** 18; // 2.4 m and 150 m a pixel, at the equator
const FLIGHT_MS = 450, KEY_STEP = 90, NEAR_PX = 14;
const EARTH_KM = 40_075;

// A custom property of page.css.
export const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What fits into a label on the map.
const shortened = id => id.length > LABEL_LENGTH ? `${id.slice(0, LABEL_LENGTH)}\u2026` : id;

export class ClientMap {
  view = { x: 0.5, y: 0.5, scale: 1 };
  selected = null; // key
  following = false;
  touched = false; // whether the reader has chosen the view
  onPick = () => {};
  onMove = () => {};
  #world = null;
  #flight = null;
  #viewChanged = true;
  #pointers = new Map();
  #shown = []; // the labels of this frame

  constructor(landCanvas, dotsCanvas, scaleBar, clients) {
    Object.assign(this, { landCanvas, dotsCanvas, scaleBar, clients });
    this.land = landCanvas.getContext('2d');
    this.dots = dotsCanvas.getContext('2d');
    new ResizeObserver(() => this.#resize()).observe(dotsCanvas);
    this.#resize();
    this.#listen();
  }

  set world(world) {
    this.#world = world;
    this.repaint();
  }

  // Draws everything again in the next frame, as after a change between light and dark.
  repaint() {
    this.colours = Object.fromEntries(['water', 'land', 'border', 'grid', 'halo', 'text'].map(name => [name, css(`--${name}`)]));
    this.#viewChanged = true;
    this.onMove();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.dotsCanvas;
    [this.width, this.height, this.ratio] = [width, height, Math.min(devicePixelRatio || 1, 2)];
    for (const canvas of [this.landCanvas, this.dotsCanvas]) {
      [canvas.width, canvas.height] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    }
    this.image = this.dots.createImageData(Math.max(1, this.dotsCanvas.width), Math.max(1, this.dotsCanvas.height));
    this.pixels = new Uint32Array(this.image.data.buffer);
    if (this.touched) this.#look(this.view); else this.showAll(false);
    this.repaint();
  }

  // Looks at a view, within the world.
  #look({ x, y, scale }) {
    scale = Math.min(SCALE_MAX, Math.max(this.width, this.height * 0.9, scale));
    const half = Math.min(0.5, this.height / scale / 2);
    this.view = { x: x - Math.floor(x), y: Math.min(1 - half, Math.max(half, y)), scale };
    this.#viewChanged = true;
    this.onMove();
  }

  #fly(to) {
    this.#flight = this.clients.glides ? { from: this.view, to, start: performance.now() } : null;
    if (!this.#flight) this.#look(to);
    this.onMove();
  }

  // Shows all clients, or the world if there are none.
  showAll(flies = true) {
    const { clients, width, height } = this;
    let [west, east, north, south] = [1, 0, 1, 0];
    for (let i = 0; i < clients.count; i++) {
      [west, east] = [Math.min(west, clients.toX[i]), Math.max(east, clients.toX[i])];
      [north, south] = [Math.min(north, clients.toY[i]), Math.max(south, clients.toY[i])];
    }
    if (!clients.count) [west, east, north, south] = [0, 1, 0.18, 0.72];
    const scale = Math.min(FIT_SCALE_MAX, 0.72 * width / (east - west || 1e-9), 0.75 * height / (south - north || 1e-9));
    const view = { x: (west + east) / 2, y: (north + south) / 2, scale };
    this.following = false;
    if (flies) this.#fly(view); else this.#look(view);
  }

  // Flies to the client with this key.
  centre(key) {
    const i = this.clients.indexOf(key), now = performance.now();
    if (i < 0) return;
    this.touched = true;
    this.#fly({ x: this.clients.x(i, now), y: this.clients.y(i, now), scale: Math.max(this.view.scale, 2 ** 14) });
  }

  #moved() {
    [this.touched, this.following, this.#flight] = [true, false, null];
  }

  pan(dx, dy) {
    this.#moved();
    this.#look({ ...this.view, x: this.view.x + dx / this.view.scale, y: this.view.y + dy / this.view.scale });
  }

  // Zooms by `factor` around a point of the map, or its centre.
  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const { x, y, scale } = this.view, to = Math.min(SCALE_MAX, Math.max(this.width, scale * factor));
    const shift = 1 / scale - 1 / to;
    [this.touched, this.#flight] = [true, null];
    this.#look({ x: x + (px - this.width / 2) * shift, y: y + (py - this.height / 2) * shift, scale: to });
  }

  #listen() {
    const canvas = this.dotsCanvas, pointers = this.#pointers;
    let travelled = 0;
    canvas.addEventListener('pointerdown', event => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      travelled = 0;
    });
    canvas.addEventListener('pointermove', event => {
      const before = pointers.get(event.pointerId), now = [event.offsetX, event.offsetY];
      if (!before) return;
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (other) {
        const span = point => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
        this.zoom(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else if (travelled > 3) {
        this.pan(before[0] - now[0], before[1] - now[1]);
      }
    });
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, event => {
        if (end === 'pointerup' && travelled <= 3 && pointers.size === 1) this.onPick(this.#at(event.offsetX, event.offsetY));
        pointers.delete(event.pointerId);
      });
    }
    canvas.addEventListener('wheel', event => {
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener('keydown', event => {
      const move = {
        ArrowLeft: () => this.pan(-KEY_STEP, 0), ArrowRight: () => this.pan(KEY_STEP, 0),
        ArrowUp: () => this.pan(0, -KEY_STEP), ArrowDown: () => this.pan(0, KEY_STEP),
        '+': () => this.zoom(1.5), '=': () => this.zoom(1.5), '-': () => this.zoom(1 / 1.5), 0: () => this.showAll(),
      }[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move();
    });
  }

  // The key of the client at a point, or null.
  #at(px, py) {
    const now = performance.now();
    let [found, nearest] = [null, NEAR_PX];
    for (let i = 0; i < this.clients.count; i++) {
      const distance = Math.hypot(this.#px(this.clients.x(i, now)) - px, this.#py(this.clients.y(i, now)) - py);
      if (distance < nearest) [found, nearest] = [this.clients.keys[i], distance];
    }
    return found;
  }

  // The CSS pixel of a world's x, in the copy of the world that is nearest to the centre; and of a y.
  #px(x) {
    const offset = x - this.view.x;
    return (offset - Math.round(offset)) * this.view.scale + this.width / 2;
  }

  #py = y => (y - this.view.y) * this.view.scale + this.height / 2;

  // Draws what has changed. Returns whether something moves, so that another frame is due.
  draw(now) {
    this.#advance(now);
    const { clients } = this, moves = now < clients.movingUntil;
    if (this.#viewChanged) this.#drawLand();
    if (this.#viewChanged || clients.changed || moves) {
      if (clients.count > FEW) this.#stamp(now); else this.#drawCircles(now);
      this.#shown = [];
      this.#drawSelected(now);
      for (let i = 0; clients.count <= LABELS && i < clients.count; i++) this.#label(i, now);
    }
    [this.#viewChanged, clients.changed] = [false, moves];
    return moves || this.#flight !== null;
  }

  #advance(now) {
    if (this.#flight) {
      const { from, to, start } = this.#flight, t = Math.min(1, Math.max(0, (now - start) / FLIGHT_MS));
      const part = t * t * (3 - 2 * t), mix = (a, b) => a + (b - a) * part;
      const toX = to.x - Math.round(to.x - from.x);
      this.#look({ x: mix(from.x, toX), y: mix(from.y, to.y), scale: from.scale * (to.scale / from.scale) ** part });
      if (t === 1) this.#flight = null;
    } else if (this.following) {
      const i = this.clients.indexOf(this.selected);
      if (i >= 0 && now < this.clients.movingUntil) this.#look({ ...this.view, x: this.clients.x(i, now), y: this.clients.y(i, now) });
    }
  }

  #drawLand() {
    const { land, landCanvas, ratio, width, height, colours, view: { x, y, scale } } = this;
    land.setTransform(1, 0, 0, 1, 0, 0);
    land.fillStyle = colours.water;
    land.fillRect(0, 0, landCanvas.width, landCanvas.height);
    if (!this.#world) return;
    const [west, east] = [x - width / scale / 2, x + width / scale / 2];
    // Unrolled rings reach into the copies on either side.
    for (let copy = Math.floor(west) - 1; copy <= Math.floor(east) + 1; copy++) {
      const pixels = scale * ratio;
      land.setTransform(pixels, 0, 0, pixels, (copy - west) * pixels, (0.5 * height / scale - y) * pixels);
      land.fillStyle = colours.land;
      land.fill(this.#world.land);
      [land.strokeStyle, land.lineWidth] = [colours.border, 0.8 / scale];
      land.stroke(this.#world.borders);
    }
    this.#drawGrid(west, east);
    this.#drawScaleBar();
  }

  // Meridians and parallels, at least 110 pixels apart: without them an empty sea would not seem to move.
  #drawGrid(west, east) {
    const { land, ratio, width, height, view: { y, scale } } = this;
    const degrees = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005].findLast(step => step / 360 * scale >= 110) ?? 30;
    land.setTransform(ratio, 0, 0, ratio, 0, 0);
    land.beginPath();
    for (let n = Math.ceil(west * 360 / degrees); n * degrees < east * 360; n++) {
      const px = Math.round((n * degrees / 360 - west) * scale) + 0.5;
      land.moveTo(px, 0);
      land.lineTo(px, height);
    }
    const south = latitudeAt(y + height / scale / 2);
    for (let n = Math.ceil(south / degrees); ; n++) {
      const py = Math.round(this.#py(project(0, n * degrees)[1])) + 0.5;
      if (py < 0 || n * degrees > 85) break;
      land.moveTo(0, py);
      land.lineTo(width, py);
    }
    [land.strokeStyle, land.lineWidth] = [this.colours.grid, 1];
    land.stroke();
  }

  #drawScaleBar() {
    const kmOfPixel = EARTH_KM * Math.cos(latitudeAt(this.view.y) * Math.PI / 180) / this.view.scale;
    const power = 10 ** Math.floor(Math.log10(150 * kmOfPixel));
    const km = power * [1, 2, 5].findLast(step => step * power <= 150 * kmOfPixel);
    this.scaleBar.style.width = `${Math.round(km / kmOfPixel)}px`;
    this.scaleBar.textContent = km < 1 ? `${Math.round(km * 1000)} m` : `${km} km`;
  }

  // Writes every client's pixels into the image, in each copy of the world that is in view.
  #stamp(now) {
    const { clients, image, pixels, ratio, view: { x, y, scale } } = this;
    const { count, fromX, fromY, toX, toY, start, length, server } = clients;
    const size = scale * ratio, [columns, rows] = [image.width, image.height];
    const [left, top] = [x - columns / size / 2, y - rows / size / 2];
    const { radius, offsets } = this.#dot(columns);
    pixels.fill(0);
    for (let i = 0; i < count; i++) {
      const t = (now - start[i]) / length[i];
      const worldY = t >= 1 ? toY[i] : fromY[i] + (toY[i] - fromY[i]) * t;
      const py = (worldY - top) * size | 0;
      if (py < radius || py >= rows - radius) continue;
      let worldX = (t >= 1 ? toX[i] : fromX[i] + (toX[i] - fromX[i]) * t) - left;
      worldX -= Math.floor(worldX);
      const colour = ABGR[server[i] % ABGR.length];
      for (let px = worldX * size | 0; px < columns - radius; px = px + size | 0) {
        if (px < radius) continue;
        const at = py * columns + px;
        for (let n = 0; n < offsets.length; n++) pixels[at + offsets[n]] = colour;
      }
    }
    this.dots.putImageData(image, 0, 0);
  }

  // The pixels of a dot, relative to its centre: smaller the more clients there are, so that dense regions keep a structure.
  #dot(columns) {
    const { count } = this.clients, size = (count > 50_000 ? 2 : count > 5_000 ? 3 : 5) * Math.round(this.ratio);
    const radius = Math.floor(size / 2), offsets = [];
    for (let dy = -radius; dy < size - radius; dy++) {
      for (let dx = -radius; dx < size - radius; dx++) {
        if (dx * dx + dy * dy <= radius * radius + 1) offsets.push(dy * columns + dx);
      }
    }
    return { radius: radius + 1, offsets: Int32Array.from(offsets) };
  }

  #drawCircles(now) {
    const { clients, dots, colours } = this;
    dots.setTransform(1, 0, 0, 1, 0, 0);
    dots.clearRect(0, 0, this.dotsCanvas.width, this.dotsCanvas.height);
    for (let i = 0; i < clients.count; i++) {
      this.#circle(clients.x(i, now), clients.y(i, now), 5.5);
      dots.fillStyle = colourOf(clients.server[i]);
      dots.fill();
      [dots.strokeStyle, dots.lineWidth] = [colours.halo, 1.5];
      dots.stroke();
    }
  }

  #circle(x, y, radius) {
    this.dots.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.dots.beginPath();
    this.dots.arc(this.#px(x), this.#py(y), radius, 0, 2 * Math.PI);
  }

  // The id beside a client, unless another label is there.
  #label(i, now, gap = 10) {
    const { clients, dots, colours } = this;
    const id = shortened(clients.ids[i]), px = this.#px(clients.x(i, now)), width = 7 * id.length;
    const at = [id, px + gap + width < this.width ? px + gap : px - gap - width, this.#py(clients.y(i, now)) + 4];
    if (clients.keys[i] === this.selected && gap === 10) return;
    if (gap === 10 && this.#shown.some(([text, x, y]) => Math.abs(x - at[1]) < Math.max(7 * text.length, width) && Math.abs(y - at[2]) < 13)) return;
    this.#shown.push(at);
    [dots.font, dots.lineJoin] = ['12px system-ui, sans-serif', 'round'];
    [dots.lineWidth, dots.strokeStyle, dots.fillStyle] = [3.5, colours.halo, colours.text];
    dots.strokeText(...at);
    dots.fillText(...at);
  }

  #drawSelected(now) {
    const i = this.selected === null ? -1 : this.clients.indexOf(this.selected);
    if (i < 0) return;
    this.#circle(this.clients.x(i, now), this.clients.y(i, now), 10);
    [this.dots.strokeStyle, this.dots.lineWidth] = [this.colours.text, 2];
    this.dots.stroke();
    this.#label(i, now, 15);
  }
}
