// The live page: starts its parts, follows the stream of reports, and draws a frame when something has changed.
//
// | state | the stream | leaves it |
// |---|---|---|
// | connecting | is opened for the first time, or after the page was hidden | an event: live; an error: paused |
// | live | sends events, at least every 15 s | an error, or SILENCE_MS without an event: paused |
// | paused | is lost; data is as old as the page says | an event: live |
//
// While the page is hidden the stream is closed: a browser has only six connections to a server, and nobody looks.

import { Clients } from './clients.js';
import { $, address, duration, number } from './dom.js';
import { Find } from './find.js';
import { Herd } from './herd.js';
import { ClientMap } from './map.js';
import { loadWorld } from './world.js';

// A browser reopens a stream that ends, but never one that was answered by an error.
const REOPEN_MS = 2_000, SILENCE_MS = 40_000;

const clients = new Clients();
const map = new ClientMap($('land'), $('dots'), $('scale'), clients);
const herd = new Herd(clients);
const find = new Find(clients, map, herd);

let stream = null, reopening = 0, lastEvent = performance.now(), frame = 0, ticks = 0, refused = false;

function enter(state) {
  if (document.body.dataset.state === state) return;
  document.body.dataset.state = state;
  $('state').textContent = state;
}

function open() {
  close();
  if (document.hidden) return;
  stream = new EventSource(address('/v1/events'));
  on('status', status => {
    if (status.resumed === false) clients.beginAgain();
    herd.takeServers(status);
    clients.settle(status.clients);
  });
  on('reports', ({ features }) => {
    const now = performance.now();
    for (const feature of features) if (feature.geometry) clients.report(feature, now);
    if (!map.touched) map.showAll(false);
  });
  on('gone', ({ ids = [], ids_hex = [] }) => {
    for (const key of [...ids, ...ids_hex.map(hex => `\0${hex}`)]) clients.remove(key);
  });
  stream.onerror = () => {
    enter('paused');
    if (stream.readyState === EventSource.CLOSED) {
      reopening = setTimeout(open, REOPEN_MS);
      // An EventSource does not say why it was refused.
      fetch(address('/status.json')).then(({ status }) => (refused = status === 401 || status === 403), () => {});
    }
  };
}

// Calls `take` with the data of each event of this kind.
function on(kind, take) {
  stream.addEventListener(kind, ({ data }) => {
    [lastEvent, refused] = [performance.now(), false];
    enter('live');
    take(JSON.parse(data));
    wake();
  });
}

function close() {
  clearTimeout(reopening);
  stream?.close();
  stream = null;
}

function wake() {
  frame ||= requestAnimationFrame(now => {
    frame = 0;
    // A report may have come after the moment that the browser gives to the frame.
    if (map.draw(Math.max(now, performance.now()))) wake();
  });
}

// Everything that changes with time alone.
function tick() {
  const silence = performance.now() - lastEvent, state = document.body.dataset.state;
  if (state === 'live' && silence > SILENCE_MS) {
    enter('paused');
    open();
  }
  $('clients').textContent = number(clients.count);
  $('banner').hidden = state !== 'paused';
  $('banner').textContent = refused ? `The server wants ${address('/').searchParams.has('token') ? 'another' : 'a'} token: open this page with ?token=TOKEN after its address.`
    : `Paused. This is ${duration(silence / 1000)} old; trying to reach the server.`;
  find.show();
  if (++ticks % 4 === 0 && $('query').value) find.search();
}

function media(query, take) {
  const list = matchMedia(query);
  list.addEventListener('change', () => take(list.matches));
  take(list.matches);
}

map.onMove = wake;
media('(prefers-reduced-motion: reduce)', reduced => (clients.glides = !reduced));
media('(prefers-color-scheme: dark)', () => [map, herd].forEach(part => part.repaint()));
document.addEventListener('visibilitychange', () => {
  enter('connecting');
  open();
});
$('zoom-in').addEventListener('click', () => map.zoom(1.5));
$('zoom-out').addEventListener('click', () => map.zoom(1 / 1.5));
$('zoom-all').addEventListener('click', () => map.showAll());
setInterval(tick, 500);
open();
map.world = await loadWorld(new URL('world.json', import.meta.url));
