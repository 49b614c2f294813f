// The herd: the graph of its links, five numbers and two charts, from the status of every server.
//
// In: the servers with their HTTP addresses, from the stream; every 2 s `/status.json` of each. Out: the panel. A server
// that does not answer is grey, and so is a link when neither of its servers answers. A link of a status with `bus` leads to the
// bus, which is a square in the middle: full if a server is linked to it.
//
// | state of a link | when |
// |---|---|
// | up | every end that answers says that it is linked |
// | behind | it is up, and an end has a backlog |
// | leaving | it is not up, and an end says that the other one ended in order |
// | down | an end says that it is not linked |
// | unknown | no end answers |

import { $, address, duration, make, number } from './dom.js';
import { colourOf, css } from './map.js';

const POLL_MS = 2_000, POINTS = 150, CHART_PX = 92;
// A large herd is asked in turns, and of its links those with trouble are shown first.
const ASKED_MAX = 64, LINES_MAX = 500, LINKS_MAX = 16, NAMED_MAX = 24;
const TROUBLE = ['down', 'leaving', 'behind', 'unknown', 'up'];

export class Herd {
  #servers = []; // {name, http}
  #statuses = new Map(); // name to {status, before: the one before it}
  #own = null;
  #history = [[], [], []]; // seconds, reports a second, worst lag in ms
  #charts = [];
  #skew = 0;
  #turn = 0; // the first server to ask next

  constructor(clients) {
    this.clients = clients;
    this.#charts = [
      this.#chart('rate-chart', { range: (_, low, high) => [0, high * 1.15 || 1] }, {}, number),
      this.#chart('lag-chart', { distr: 3, range: [0.01, 1000] }, { splits: [0.1, 10, 1000], filter: (_, splits) => splits }, value => value < 1000 ? `${value} ms` : `${value / 1000} s`),
    ];
    new ResizeObserver(() => this.repaint()).observe($('rate-chart'));
    setInterval(() => document.hidden || this.poll(), POLL_MS);
  }

  // Seconds since 1970 by the clock of this page's server: a browser's own clock may be wrong.
  serverTime() {
    return Date.now() / 1000 + this.#skew;
  }

  // Takes the event `status` of the stream. The first answers come at once.
  takeServers({ server, herd }) {
    this.#own = server;
    this.#servers = herd;
    for (const { name } of herd) this.clients.serverNumber(name);
    $('server').textContent = `seen from ${server}`;
    if (!this.#statuses.size) this.poll();
  }

  async poll() {
    const all = this.#servers, asked = [...all, ...all].slice(this.#turn, this.#turn + Math.min(ASKED_MAX, all.length));
    this.#turn = (this.#turn + asked.length) % (all.length || 1);
    await Promise.all(asked.map(async ({ name, http }) => {
      const status = await this.#ask(name, http).catch(() => null), before = this.#statuses.get(name);
      const same = before && status && before.status.started_s === status.started_s;
      if (status) this.#statuses.set(name, { status, before: same ? before : null });
      else this.#statuses.delete(name);
      if (same) before.before = null; // only one earlier status is kept
    }));
    this.#show();
  }

  async #ask(name, http) {
    // An unspecified address listens at every one, also at the one that this page came from.
    const host = http?.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, location.hostname);
    if (name !== this.#own && !host) return null;
    const base = name === this.#own ? location.origin : `${location.protocol}//${host}`;
    const reply = await fetch(address('/status.json', {}, base), { signal: AbortSignal.timeout(POLL_MS) });
    const status = reply.ok ? await reply.json() : null;
    // Every server that listens at an unspecified address with one port seems to be at this page's host.
    return status?.server === name ? status : null;
  }

  #show() {
    const answers = [...this.#statuses.values()], own = this.#statuses.get(this.#own)?.status;
    if (own) {
      this.#skew = own.started_s + own.uptime_s - Date.now() / 1000;
      $('herd').textContent = document.title = own.herd;
    }
    const isMeasured = answers.some(({ before }) => before), [rate, lag] = [sum(answers.map(rateOf)), Math.max(0, ...answers.map(lagOf))];
    const broken = answers.filter(({ status }) => status.journal?.sound === false).map(({ status }) => status.server);
    const journals = answers.filter(({ status }) => status.journal).length;
    $('rate').textContent = isMeasured ? number(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)) : '\u2013';
    $('followers').textContent = answers.length ? number(sum(answers.map(({ status }) => status.http?.followers ?? 0))) : '\u2013';
    $('lag').textContent = lag ? `< ${number(lag < 1 ? Math.ceil(lag * 10) / 10 : Math.ceil(lag))} ms` : '\u2013';
    $('journal').textContent = broken.length ? `broken: ${broken.join(', ')}` : journals ? 'sound' : answers.length ? 'none' : '\u2013';
    $('journal').className = broken.length ? 'bad' : '';
    this.#showLinks();
    this.#history[0].push(Date.now() / 1000);
    this.#history[1].push(isMeasured ? rate : null);
    this.#history[2].push(lag || null);
    for (const values of this.#history) if (values.length > POINTS) values.shift();
    this.repaint();
  }

  // All links, each as {ends, state, since, backlog, bus}, by the names of its ends; of a link to the bus the second.
  #links() {
    const links = new Map();
    for (const { status } of this.#statuses.values()) {
      for (const { name, linked, leaving, backlog_clients: backlog, changed_s: since, bus } of status.links) {
        const ends = bus ? [status.server, name] : [status.server, name].sort(), key = ends.join('\n');
        const link = links.get(key) ?? { ends, bus, linked: true, leaving: false, backlog: 0, since: Infinity };
        link.linked &&= linked;
        link.leaving ||= leaving;
        link.backlog += backlog;
        link.since = Math.min(link.since, since ?? Infinity);
        link.state = link.linked ? (link.backlog ? 'behind' : 'up') : link.leaving ? 'leaving' : 'down';
        links.set(key, link);
      }
    }
    // What no end reports any more is remembered, as unknown.
    for (const [key, { ends, bus }] of this.known ?? []) {
      if (!links.has(key) && !ends.some(end => this.#statuses.has(end))) links.set(key, { ends, bus, state: 'unknown', since: Infinity });
    }
    this.known = links;
    return [...links.values()].sort((a, b) => TROUBLE.indexOf(a.state) - TROUBLE.indexOf(b.state) || (a.ends < b.ends ? -1 : 1));
  }

  #showLinks() {
    const links = this.#links(), places = this.#places(links), bus = links.some(({ bus }) => bus) ? 1 : 0;
    const lines = links.slice(0, LINES_MAX).map(({ ends, state }) => {
      const [[x1, y1], [x2, y2]] = ends.map(end => places.get(end));
      return make('svg:line', { x1, y1, x2, y2, class: state });
    });
    const notes = links.filter(({ state }) => places.size <= NAMED_MAX && state !== 'up').map(link => {
      const [[x1, y1], [x2, y2]] = link.ends.map(end => places.get(end));
      return make('svg:text', { x: (x1 + x2) / 2, y: (y1 + y2) / 2 + 4, class: 'note' }, told({ ...link, backlog: link.state === 'behind' ? link.backlog : 0 }));
    });
    const nodes = [...places].flatMap(([name, place]) => this.#node(name, place, places.size <= NAMED_MAX));
    $('graph').replaceChildren(...lines, ...nodes, ...notes);
    const counts = TROUBLE.map(state => [links.filter(link => link.state === state).length, state]).filter(([count]) => count);
    const silent = this.#servers.filter(({ name }) => !this.#statuses.has(name)).map(({ name }) => name);
    $('graph').setAttribute('aria-label', `${places.size - bus} servers${bus ? ' and the bus' : ''}; links: ${counts.map(pair => pair.join(' ')).join(', ') || 'none'}`
      + (silent.length ? `; no answer from ${silent.join(', ')}` : ''));
    const unhealthy = [...this.#statuses.values()].filter(({ status }) => status.health?.reasons?.length);
    $('links').replaceChildren(
      ...unhealthy.map(({ status }) => make('li', {}, make('span', { class: 'wide' }, `${status.server}: ${status.health.reasons.join('; ')}`))),
      ...links.slice(0, LINKS_MAX).map(link => make('li', {},
        make('svg:svg', { 'aria-hidden': true }, make('svg:line', { x1: 2, x2: 24, y1: 4, y2: 4, class: link.state })),
        make('bdi', {}, link.ends.join(' \u2013 ')), make('span', {}, told(link)))),
      ...links.length > LINKS_MAX ? [make('li', {}, make('span', { class: 'wide' }, `and ${links.length - LINKS_MAX} more`))] : []);
  }

  // A server's circle: filled if it answers. The bus is a square, filled if a server is linked to it.
  #node(name, [x, y, isLinked], isNamed) {
    const isBus = isLinked !== undefined, answers = isLinked ?? this.#statuses.has(name), r = isNamed ? 9 : 4;
    const colour = isBus ? css('--text') : answers ? colourOf(this.clients.serverNumber(name)) : css('--unknown');
    const look = { stroke: colour, fill: answers ? colour : css('--panel'), 'stroke-width': 2.5 };
    const node = isBus ? make('svg:rect', { x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 3, ...look }) : make('svg:circle', { cx: x, cy: y, r, ...look });
    return isNamed ? [node, make('svg:text', { x, y: y < 100 ? y - 16 : y + 25 }, name)] : [node];
  }

  // A place on an ellipse for each server, in the order of a walk along the links, so that few of them cross; the bus is inside.
  #places(links) {
    const near = new Map(this.#servers.map(({ name }) => [name, []]));
    const inside = new Map(links.filter(({ bus }) => bus).map(({ ends }) => [ends[1], links.some(({ bus, linked }) => bus && linked)]));
    for (const { ends: [one, other], bus } of links) {
      for (const [from, ...to] of bus ? [[one]] : [[one, other], [other, one]]) near.set(from, [...near.get(from) ?? [], ...to]);
    }
    const order = new Set(), few = (a, b) => near.get(a).length - near.get(b).length || (a < b ? -1 : 1), waiting = [...near.keys()].sort(few).reverse();
    while (waiting.length) {
      const name = waiting.pop();
      if (!order.has(name)) waiting.push(...near.get(order.add(name) && name).toSorted().reverse());
    }
    return new Map([...[...order].map((name, n) => {
      const angle = 2 * Math.PI * n / order.size - Math.PI / 2;
      return [name, [180 + 128 * Math.cos(angle), 103 + (order.size + inside.size > 1 ? 72 : 0) * Math.sin(angle)]];
    }), ...[...inside].map(([name, isLinked], n) => [name, [180, 103 + 30 * n, isLinked]])]);
  }

  // A chart whose y has this scale, axis and text.
  #chart(id, scale, axis, text) {
    const common = { stroke: () => css('--muted'), font: '11px system-ui', ticks: { show: false }, grid: { stroke: () => css('--rule'), width: 1 } };
    const ago = [240, 120, 0], times = () => ago.map(seconds => Date.now() / 1000 - seconds);
    return new uPlot({
      width: 360, height: CHART_PX, legend: { show: false }, cursor: { show: false }, scales: { y: scale }, padding: [6, 14, 0, 0],
      axes: [
        { ...common, grid: { show: false }, size: 22, splits: times, values: () => ago.map(seconds => seconds ? `${seconds / 60} min ago` : 'now') },
        { ...common, size: 58, space: 26, ...axis, splits: axis.splits && (() => axis.splits), values: (_, values) => values.map(text) },
      ],
      series: [{}, { stroke: () => css('--chart'), fill: () => css('--fill'), width: 1.5, points: { show: false } }],
    }, [[], []], $(id));
  }

  // Draws the charts, with the colours and the width of now.
  repaint() {
    const [times, ...values] = this.#history, now = Date.now() / 1000;
    this.#charts.forEach((chart, n) => {
      const width = chart.root.parentElement.clientWidth;
      if (width !== chart.width) chart.setSize({ width, height: CHART_PX });
      chart.setData([times, values[n]], true);
      chart.setScale('x', { min: now - 300, max: now });
    });
  }
}

const sum = values => values.reduce((total, value) => total + value, 0);

function told({ state, backlog, since }) {
  const time = Number.isFinite(since) ? ` ${duration(since)}` : '';
  return `${state}${time}${backlog ? `, backlog ${number(backlog)}` : ''}`;
}

// Reports of clients that a server took each second since its last status, by its own clock.
function rateOf({ status, before }) {
  const taken = ({ reports }) => sum(Object.entries(reports).map(([door, { new: count }]) => door === 'peer' ? 0 : count ?? 0));
  const seconds = before ? status.uptime_s - before.status.uptime_s : 0;
  return seconds > 0 ? (taken(status) - taken(before.status)) / seconds : 0;
}

// The bound in ms of the longest loop lag since the last status: the highest bucket that has more in it now.
function lagOf({ status, before }) {
  if (!before) return 0;
  const [now, then] = [status, before.status].map(({ loop_lag: { buckets, count } }) =>
    [...buckets, [69, count]].map(([, upTo], n, all) => upTo - (n ? all[n - 1][1] : 0)));
  const highest = now.findLastIndex((count, n) => count > then[n]);
  return highest < 0 ? 0 : (status.loop_lag.buckets[highest]?.[0] ?? 69) * 1000;
}
