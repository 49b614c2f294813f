// Every client's latest report, in typed arrays: a frame reads 100,000 of them, and makes no object.
//
// In: Features of the stream, ids that are gone. Out: for each index below `count` where the client is at a moment. A
// client glides from where it is shown to the location of its new report, in as long as the report was awaited.
// Locations are projected here, once for each report, and not once for each frame.
//
// Ids, names and times are texts from strangers: nothing here interprets them.

import { project } from './world.js';

const GLIDE_MS_MAX = 10_000, GLIDE_MS_MIN = 250;
const COLUMNS = {
  fromX: Float64Array, fromY: Float64Array, toX: Float64Array, toY: Float64Array, // world units
  start: Float64Array, length: Float64Array, // of the glide, in ms of performance.now()
  longitude: Float64Array, latitude: Float64Array, // degrees
  time: Float64Array, // the report's stamp, seconds since 1970
  server: Uint16Array, // an index of `servers`
  generation: Uint32Array, // of the stream that last told it
};

// An id that is not UTF-8 has a key of its own: its text is not unique. A NUL is in no other id.
export const keyOf = feature => feature.properties.id_hex ? `\0${feature.properties.id_hex}` : feature.id;

export class Clients {
  count = 0;
  ids = []; // as shown
  keys = [];
  servers = []; // names, in the order of the topology
  glides = true;
  movingUntil = 0; // ms; after it every client rests
  changed = true; // since the last frame
  #index = new Map(); // key to index
  #generation = 1;
  #fresh = 0; // clients of this generation
  #freshBefore = -1;

  constructor() {
    for (const name in COLUMNS) this[name] = new COLUMNS[name](1024);
  }

  indexOf = key => this.#index.get(key) ?? -1;

  // The number that stands for a server, which its colour follows from.
  serverNumber(name) {
    const known = this.servers.indexOf(name);
    return known >= 0 ? known : this.servers.length < 65_535 ? this.servers.push(name) - 1 : 0;
  }

  // The client's x at `now`; y likewise.
  x = (i, now) => this.fromX[i] + (this.toX[i] - this.fromX[i]) * this.#progress(i, now);
  y = (i, now) => this.fromY[i] + (this.toY[i] - this.fromY[i]) * this.#progress(i, now);
  #progress = (i, now) => Math.min(1, (now - this.start[i]) / this.length[i]);

  // Takes a Feature's report, which came at `now`.
  report(feature, now) {
    const [longitude, latitude] = feature.geometry.coordinates, key = keyOf(feature);
    const [x, y] = project(longitude, latitude);
    let i = this.indexOf(key);
    if (i < 0) {
      i = this.#add(key, feature.id);
      [this.fromX[i], this.fromY[i], this.length[i]] = [x, y, 1];
    } else {
      const [fromX, fromY] = [this.x(i, now), this.y(i, now)];
      // The short way round the world.
      this.fromX[i] = fromX + Math.round(x - fromX);
      this.fromY[i] = fromY;
      const waited = Math.max(GLIDE_MS_MIN, Math.min(GLIDE_MS_MAX, now - this.start[i]));
      this.length[i] = this.glides ? waited : 1;
    }
    [this.toX[i], this.toY[i], this.start[i]] = [x, y, now];
    [this.longitude[i], this.latitude[i]] = [longitude, latitude];
    this.time[i] = Number(feature.properties.time);
    this.server[i] = this.serverNumber(feature.properties.server);
    if (this.generation[i] !== this.#generation) this.#fresh += 1;
    this.generation[i] = this.#generation;
    this.movingUntil = Math.max(this.movingUntil, now + this.length[i]);
    this.changed = true;
  }

  #add(key, id) {
    const i = this.count++;
    if (i === this.fromX.length) {
      for (const name in COLUMNS) {
        const wider = new COLUMNS[name](2 * i);
        wider.set(this[name]);
        this[name] = wider;
      }
    }
    [this.ids[i], this.keys[i], this.generation[i]] = [id, key, 0];
    this.#index.set(key, i);
    return i;
  }

  // Forgets a client. The last one takes its index.
  remove(key) {
    const i = this.indexOf(key), last = this.count - 1;
    if (i < 0) return;
    if (this.generation[i] === this.#generation) this.#fresh -= 1;
    for (const column of [this.ids, this.keys, ...Object.keys(COLUMNS).map(name => this[name])]) column[i] = column[last];
    this.#index.set(this.keys[i], i);
    this.#index.delete(key);
    this.ids.pop();
    this.keys.pop();
    this.count = last;
    this.changed = true;
  }

  // The stream begins again and tells everything. What it does not tell is gone, which `settle` finds out: until then the
  // map shows the clients where they were, and does not flicker.
  beginAgain() {
    this.#generation += 1;
    [this.#fresh, this.#freshBefore] = [0, -1];
  }

  // Called at each status, with the server's number of clients: forgets clients of earlier streams once all have been
  // told, or no other one has been told since the last status (a token may show fewer than the server has).
  settle(clients) {
    if (this.#fresh >= clients || this.#fresh === this.#freshBefore) {
      for (let i = this.count - 1; i >= 0; i--) if (this.generation[i] !== this.#generation) this.remove(this.keys[i]);
    }
    this.#freshBefore = this.#fresh;
  }
}
