// A herd in one Node process, for work on the page: the same answers as real servers, with made-up clients that move.
//
//     node tests/page/double.mjs [--clients 5] [--a-second 0.15] [--port 8080] [--bus]
//
// It serves the page's sources as they are, so that a change is seen at the next reload. Servers are on ports of their own,
// the first one on --port, the others on ports of the kernel's.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PAGE = new URL('../../src/page/', import.meta.url);
const TYPES = { css: 'text/css', html: 'text/html', js: 'text/javascript', json: 'application/json' };
const EDGES = [['Alford', 'Parker'], ['Alford', 'Welsh'], ['Bolden', 'Parker'], ['Bolden', 'Welsh'], ['Hamilton', 'Parker']];
// Longitude, latitude, spread in degrees, share, server.
const CITIES = [[-118.2, 34.1, 2, 6, 'Alford'], [-74, 40.7, 3, 8, 'Bolden'], [-87.6, 41.9, 4, 4, 'Bolden'], [-95.4, 31, 4, 4, 'Alford'],
  [-99.1, 19.4, 2.5, 4, 'Alford'], [-46.6, -23, 3, 5, 'Hamilton'], [-58.4, -34.6, 2, 2, 'Hamilton'], [-75, 5, 2.5, 2, 'Hamilton'],
  [-0.5, 52, 1.6, 5, 'Parker'], [8, 50, 4, 10, 'Parker'], [12, 44, 3, 4, 'Parker'], [-4, 40, 2.5, 3, 'Parker'], [30, 50, 5, 3, 'Parker'],
  [37.6, 55.7, 3, 3, 'Parker'], [30.8, 29, 1.5, 3, 'Parker'], [4, 7.5, 2.5, 4, 'Hamilton'], [37, -1, 2.5, 2, 'Hamilton'], [28, -27, 2, 3, 'Hamilton'],
  [77.2, 27, 3.5, 8, 'Welsh'], [78, 14, 3, 5, 'Welsh'], [114, 33, 5, 9, 'Welsh'], [113.5, 23, 1.5, 4, 'Welsh'], [137.5, 35.5, 2, 5, 'Welsh'],
  [107.5, -6.8, 1.5, 3, 'Welsh'], [121, 14.5, 1.5, 2, 'Welsh'], [148, -35, 3, 3, 'Welsh'], [178, -17.8, 1.5, 1, 'Welsh'], [174.8, -38, 1.5, 1, 'Welsh']];
const SHARES = CITIES.flatMap(city => Array(city[3]).fill(city));
const WORDS = ['kiwi', 'tui', 'weka', 'kea', 'moa', 'ruru', 'takahe', 'kaka'];
const bounds = Array.from({ length: 11 }, (_, n) => 2 ** (14 + 2 * n) / 1e9);

export class Double {
  constructor({ clients = 5, aSecond = 0.15, batch = 500, seed = 1, bus = false } = {}) {
    Object.assign(this, { aSecond, batch, seed, bus, clients: new Map(), followers: new Set(), servers: new Map(), taken: 0, slow: 0 });
    for (const name of ['Alford', 'Bolden', 'Hamilton', 'Parker', 'Welsh']) this.servers.set(name, { name, port: 0, changed: Date.now() });
    const names = [...this.servers.keys()], few = [0, 1, 5, 9, 22].map(n => CITIES[n]);
    for (let n = 0; n < clients; n++) {
      const [lon, lat, spread, , server] = clients > 100 ? SHARES[Math.floor(this.random() * SHARES.length)] : few[n % few.length];
      const at = [lon + this.normal() * spread * 1.2, lat + this.normal() * spread * 0.8];
      this.move(`${WORDS[n % WORDS.length]}-${n}/phone`, ...at, this.random() < 0.9 ? server : names[n % 5]);
    }
  }

  random() {
    this.seed = (this.seed * 48271) % 2147483647;
    return this.seed / 2147483647;
  }

  normal() {
    return Math.sqrt(-2 * Math.log(this.random() || 1e-9)) * Math.cos(2 * Math.PI * this.random());
  }

  move(id, lon, lat, server) {
    const old = this.clients.get(id);
    const feature = {
      type: 'Feature', id, geometry: { type: 'Point', coordinates: [(lon + 540) % 360 - 180, Math.max(-85, Math.min(85, lat))] },
      properties: { time: (Date.now() / 1000).toFixed(3), server, diff: '+0.263873386' },
    };
    this.clients.set(id, { feature, heading: old?.heading ?? this.random() * 7 });
    this.taken += 1;
    for (const follower of this.followers) follower.due.add(id);
  }

  tick() {
    this.slow += this.random() < 0.02 ? 1 : 0;
    const ids = (this.ids ??= [...this.clients.keys()]), step = this.clients.size > 100 ? 0.08 : 0.02;
    for (let n = 0; n < ids.length * this.aSecond / 10; n++) {
      const id = ids[Math.floor(this.random() * ids.length)], client = this.clients.get(id);
      if (!client) continue;
      client.heading += this.normal() * 0.5;
      const [lon, lat] = client.feature.geometry.coordinates;
      this.move(id, lon + step * Math.cos(client.heading), lat + step * Math.sin(client.heading), client.feature.properties.server);
    }
    for (const follower of this.followers) this.flush(follower);
  }

  flush(follower) {
    const ids = [];
    for (const id of follower.due) {
      if (ids.length === this.batch) break;
      ids.push(id);
      follower.due.delete(id);
    }
    const gone = ids.filter(id => !this.clients.has(id));
    const features = ids.filter(id => this.clients.has(id)).map(id => this.clients.get(id).feature);
    if (features.length) follower.send('reports', { type: 'FeatureCollection', features });
    if (gone.length) follower.send('gone', { ids: gone });
  }

  herd() {
    return [...this.servers.values()].map(({ name, port }) => ({ name, http: `127.0.0.1:${port}` }));
  }

  isUp(name) {
    return this.servers.get(name).server !== undefined;
  }

  status(name) {
    const links = EDGES.filter(edge => edge.includes(name)).map(edge => {
      const other = edge.find(end => end !== name), linked = this.isUp(other);
      const changed = Math.max(this.servers.get(other).changed, this.servers.get(name).changed);
      return { name: other, linked, leaving: false, backlog_clients: linked ? 0 : this.clients.size, changed_s: (Date.now() - changed) / 1000, plain: false };
    });
    if (this.bus) {
      const since = this.servers.get(name).changed;
      links.push({ name: 'NATS places-herd', bus: true, linked: true, leaving: false, backlog_clients: 0, changed_s: (Date.now() - since) / 1000, plain: false });
    }
    const turns = this.taken + Math.floor(Date.now() / 100);
    return {
      server: name, herd: 'places-herd', version: '0.4.0', started_s: this.servers.get(name).changed / 1000,
      uptime_s: (Date.now() - this.servers.get(name).changed) / 1000, known_clients: this.clients.size, journal: { sound: true },
      health: { healthy: true, reasons: [] }, http: { followers: [...this.followers].filter(follower => follower.name === name).length },
      reports: { client: { new: Math.floor(this.taken / 5), same: 0 }, peer: { new: 4 * this.taken } },
      loop_lag: { buckets: bounds.map((bound, n) => [bound, n < 2 ? 0 : n === 2 ? turns - this.slow : turns]), count: turns }, links,
    };
  }

  answer(name, request, reply) {
    const url = new URL(request.url, 'http://herd'), path = decodeURIComponent(url.pathname);
    const headers = { 'Cache-Control': 'no-store', ...(request.headers.origin ? { 'Access-Control-Allow-Origin': request.headers.origin } : {}) };
    const json = (status, body) => reply.writeHead(status, { ...headers, 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    const asset = path === '/' ? 'index.html' : path.match(/^\/assets\/[0-9a-f]{12}\/([a-z]+\.[a-z]+)$/)?.[1];
    if (asset) {
      const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ${this.herd().map(({ http }) => `http://${http}`).join(' ')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
      reply.writeHead(200, { ...headers, 'Content-Type': TYPES[asset.split('.')[1]], 'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff' });
      reply.end(readFileSync(new URL(asset, PAGE)));
    } else if (path === '/status.json') {
      json(200, this.status(name));
    } else if (path === '/v1/near') {
      const known = this.clients.has(url.searchParams.get('client'));
      const results = [{ name: 'Westwood', vicinity: 'Los Angeles, CA' }, { name: '<b>Brentwood</b>', vicinity: 'Los Angeles, CA' }];
      json(known ? 200 : 404, known ? { results, status: 'OK' } : { title: 'Not Found', status: 404, detail: 'no report of this client is known' });
    } else if (path === '/v1/events') {
      this.follow(name, request, reply, headers);
    } else if (request.method === 'PUT' && path.startsWith('/v1/clients/')) {
      let body = '';
      request.on('data', data => (body += data));
      request.on('end', () => {
        const { lat, lon } = JSON.parse(body);
        this.move(decodeURIComponent(url.pathname.slice('/v1/clients/'.length)), lon, lat, name);
        json(200, {});
      });
    } else {
      json(404, { title: 'Not Found', status: 404 });
    }
  }

  follow(name, request, reply, headers) {
    reply.writeHead(200, { ...headers, 'Content-Type': 'text/event-stream', Connection: 'close' });
    reply.write('retry: 500\n\n');
    const send = (kind, data) => reply.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
    const status = more => send('status', { server: name, clients: this.clients.size, herd: this.herd(), ...more });
    const follower = { name, send, due: new Set(this.clients.keys()) };
    status({ resumed: false });
    const timer = setInterval(status, 15_000, {});
    this.followers.add(follower);
    reply.on('close', () => {
      clearInterval(timer);
      this.followers.delete(follower);
    });
  }

  start(name) {
    const entry = this.servers.get(name), server = createServer((request, reply) => this.answer(name, request, reply));
    return new Promise(resolve => server.listen(entry.port, '127.0.0.1', () => {
      Object.assign(entry, { server, port: server.address().port, changed: Date.now() });
      this.timer ??= setInterval(() => this.tick(), 100);
      resolve();
    }));
  }

  kill(name) {
    const entry = this.servers.get(name), { server } = entry;
    Object.assign(entry, { server: undefined, changed: Date.now() });
    return new Promise(resolve => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }

  // Starts all servers. Returns their URLs, by name.
  async startAll(port = 0) {
    this.servers.get('Alford').port = port;
    for (const name of this.servers.keys()) await this.start(name);
    return Object.fromEntries(this.herd().map(({ name, http }) => [name, `http://${http}`]));
  }

  async end() {
    clearInterval(this.timer);
    for (const name of this.servers.keys()) if (this.isUp(name)) await this.kill(name);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { clients: { type: 'string' }, 'a-second': { type: 'string' }, port: { type: 'string' }, bus: { type: 'boolean' } } });
  const double = new Double({ bus: values.bus, clients: Number(values.clients ?? 5), aSecond: Number(values['a-second'] ?? 0.15) });
  console.log((await double.startAll(Number(values.port ?? 0))).Alford);
}
