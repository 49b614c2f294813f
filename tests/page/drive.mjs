// Drives the live page in Chromium, as an operator would use it, and checks what it promises.
//
//     node tests/page/drive.mjs double             against the herd of double.mjs
//     node tests/page/drive.mjs '{"Alford": "http://127.0.0.1:12200", ...}'     against these servers
//
// With real servers it prints `kill NAME` and `start NAME`, and waits for a line on stdin that says that it is done:
// tests/suite/page.rs does it. The servers are the original herd's; Alford serves the page, Parker is killed, and then
// Alford. Exits with 0 if every promise is kept, with 1 after the first one that is not. UPDATE_EXPECTED=1 writes accessibility.txt.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { complaints, launch } from './chromium.mjs';
import { Double } from './double.mjs';

const HOSTILE = ['<img src=x onerror=alert(1)>', '"><svg/onload=alert(1)>', '\u202egnirts\u202c/rtl', `long-${'x'.repeat(900)}`, '</script><b>', '${7*7}{{7*7}}'];
const EXPECTED = new URL('accessibility.txt', import.meta.url);
const PATIENCE_MS = 30_000;

// The servers: their URLs, and how to end and start one.
async function theHerd() {
  if (process.argv[2] === 'double') {
    const double = new Double({ clients: 0 });
    return { urls: await double.startAll(), kill: name => double.kill(name), start: name => double.start(name), end: () => double.end() };
  }
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const order = async what => {
    console.log(what);
    const { done } = await lines.next();
    assert(!done, 'the test that started the servers has ended');
  };
  return { urls: JSON.parse(process.argv[2]), kill: name => order(`kill ${name}`), start: name => order(`start ${name}`), end: () => {} };
}

const herd = await theHerd();
const browser = await launch();
const noise = []; // of all pages

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  noise.push(complaints(page));
  page.on('dialog', dialog => noise.push([`a dialog: ${dialog.message()}`]) && dialog.dismiss());
  await page.goto(herd.urls.Alford);
  await becomes(page, '#state', 'live');
  return page;
}

// Waits until an element has a text that is or matches `text`.
async function becomes(page, selector, text) {
  const pattern = text instanceof RegExp ? [text.source, text.flags] : null;
  const seen = await page.waitForFunction(({ selector, text, pattern }) => {
    const found = [...document.querySelectorAll(selector)].map(element => element.textContent.trim());
    return found.some(now => pattern ? new RegExp(...pattern).test(now) : now === text);
  }, { selector, text: pattern ? null : text, pattern }).catch(() => null);
  assert(seen, `${selector} is "${await page.locator(selector).allTextContents()}", and not ${text}`);
}

const seconds = () => (Date.now() / 1000).toFixed(3);

async function report(id, lat, lon, server = 'Alford') {
  const body = JSON.stringify({ lat, lon, time: seconds() });
  const reply = await fetch(`${herd.urls[server]}/v1/clients/${encodeURIComponent(id)}`, { method: 'PUT', body, headers: { 'Content-Type': 'application/json' } });
  assert.equal(reply.status, 200, `PUT ${id}: ${await reply.text()}`);
}

// The pixel of a canvas at a fraction of its width and height.
const pixel = (page, id) => page.evaluate(id => {
  const canvas = document.getElementById(id);
  return [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data];
}, id);

const link = (page, ends, state) => page.waitForFunction(({ ends, state }) => {
  const row = [...document.querySelectorAll('#links li')].find(row => row.textContent.includes(ends));
  return row?.querySelector('line').getAttribute('class') === state;
}, { ends, state });

const promises = {
  async 'a report appears, and is found by part of its id'(page) {
    await report('jane/phone', 34.0689, -118.4451);
    await report('joe/phone', 40.7, -74, 'Bolden');
    await becomes(page, '#clients', '2');
    await page.fill('#query', 'JANE');
    await becomes(page, '#found bdi', 'jane/phone');
    assert.equal(await page.locator('#found button').count(), 1);
    await page.click('#found button');
    await becomes(page, '#client-id', 'jane/phone');
    await becomes(page, '#client-location', '34.06890, -118.44510');
    await becomes(page, '#client-server', 'Alford');
    await becomes(page, '#client-age', /^\d+ (s|min) ago$/);
  },

  async 'the chosen client is drawn in its server\'s colour at the centre'(page) {
    await page.waitForFunction(() => {
      const canvas = document.getElementById('dots');
      const [red, green, blue] = canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
      return red === 0 && green === 114 && blue === 178;
    });
  },

  async 'what is near is shown as text'(page) {
    await page.click('#ask');
    await becomes(page, '#near li', /./);
    await becomes(page, '#near-state', /^Within 20 km/);
  },

  async 'the map follows a client'(page) {
    await page.click('#follow');
    assert.equal(await page.getAttribute('#follow', 'aria-pressed'), 'true');
    await report('jane/phone', 34.2, -118.2);
    await becomes(page, '#client-location', '34.20000, -118.20000');
    await page.waitForFunction(() => {
      const canvas = document.getElementById('dots');
      return canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[2] === 178;
    });
    await page.click('#close');
  },

  async 'hostile ids are text'(page) {
    for (const id of HOSTILE) await report(id.replaceAll(' ', '_'), 10, 20);
    await becomes(page, '#clients', `${HOSTILE.length + 2}`);
    for (const id of HOSTILE.map(id => id.replaceAll(' ', '_'))) {
      await page.fill('#query', id);
      await becomes(page, '#found bdi', id);
      await page.click('#found button');
      assert.equal(await page.textContent('#client-id'), id);
    }
    assert.equal(await page.locator('main img, main svg, main b').count(), 0);
    await page.fill('#query', '');
    await page.click('#close');
  },

  async 'the keyboard is enough'(page) {
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'query');
    await page.keyboard.type('joe');
    await becomes(page, '#found bdi', 'joe/phone');
    await page.keyboard.press('Enter');
    await becomes(page, '#client-id', 'joe/phone');
    await page.click('#close');
    await page.focus('#query');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await becomes(page, '#client-id', 'joe/phone');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.getElementById('client').hidden && document.getElementById('found').hidden);
    await page.focus('#dots');
    const bar = () => page.evaluate(() => document.getElementById('scale').textContent);
    await page.keyboard.press('0');
    await page.waitForTimeout(600);
    const before = await bar();
    for (const key of ['+', '+', '+', '+', 'ArrowLeft', 'ArrowUp', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
    await page.waitForFunction(before => document.getElementById('scale').textContent !== before, before);
    await page.keyboard.press('0');
    await page.waitForFunction(before => document.getElementById('scale').textContent === before, before);
  },

  async 'the panel shows the herd'(page) {
    for (const ends of ['Alford \u2013 Parker', 'Alford \u2013 Welsh', 'Bolden \u2013 Parker', 'Bolden \u2013 Welsh', 'Hamilton \u2013 Parker']) await link(page, ends, 'up');
    await becomes(page, '#followers', /^[1-9]/);
    await becomes(page, '#lag', /ms$/);
    await becomes(page, '#journal', /^(sound|none)$/);
    assert.equal(await page.locator('.chart canvas').count(), 2);
  },

  async 'the bus is one more link, and no server'(page) {
    const bus = { name: 'NATS herd', bus: true, plain: false, linked: true, leaving: false, backlog_clients: 0, changed_s: 9 };
    const add = async route => {
      const response = await route.fetch(), status = await response.json();
      await route.fulfill({ response, json: { ...status, links: [...status.links, bus] } });
    };
    await page.route('**/status.json*', add);
    for (const name of ['Alford', 'Bolden', 'Hamilton', 'Parker', 'Welsh']) await link(page, `${name} \u2013 NATS herd`, 'up');
    assert.match(await page.getAttribute('#graph', 'aria-label'), /^5 servers and the bus; links: 10 up/);
    assert.equal(await page.locator('#graph circle').count(), 5);
    const isFull = () => page.locator('#graph rect').evaluate(square => square.getAttribute('fill') === square.getAttribute('stroke'));
    assert(await isFull());
    bus.backlog_clients = 7;
    await link(page, 'Alford \u2013 NATS herd', 'behind');
    await becomes(page, '#links span', /^behind.*, backlog 7$/);
    bus.linked = false;
    await link(page, 'Alford \u2013 NATS herd', 'down');
    await page.waitForFunction(() => document.querySelector('#graph rect').getAttribute('fill') !== document.querySelector('#graph rect').getAttribute('stroke'));
    await page.unroute('**/status.json*', add);
    await page.waitForFunction(() => !document.querySelector('#graph rect'));
  },

  async 'screen readers get what accessibility.txt says'(page) {
    await page.evaluate(() => document.activeElement.blur());
    const name = await page.textContent('#herd');
    const snapshot = (await page.locator('body').ariaSnapshot()).replace(JSON.stringify(name), '"the herd\'s name"').replaceAll(/(< )?\d[\d,.]*( (s|min|ms)\b)?/g, '#').replaceAll('"#"', '#') + '\n';
    if (process.env.UPDATE_EXPECTED === '1') writeFileSync(EXPECTED, snapshot);
    assert.equal(snapshot, readFileSync(EXPECTED, 'utf8'));
  },

  async 'a status of another server than the one that was asked is no answer'(page) {
    const other = await (await fetch(`${herd.urls.Welsh}/status.json`)).text();
    const mistake = route => route.fulfill({ contentType: 'application/json', headers: { 'Access-Control-Allow-Origin': '*' }, body: other });
    await page.route(`${herd.urls.Parker}/status.json*`, mistake);
    await page.waitForFunction(() => /no answer from Parker$/.test(document.getElementById('graph').getAttribute('aria-label')));
    await page.unroute(`${herd.urls.Parker}/status.json*`, mistake);
    await page.waitForFunction(() => !/no answer/.test(document.getElementById('graph').getAttribute('aria-label')));
  },

  async 'a server that is killed turns its links red, and back'(page) {
    await herd.kill('Parker');
    await link(page, 'Alford \u2013 Parker', 'down');
    await link(page, 'Hamilton \u2013 Parker', 'down');
    await link(page, 'Alford \u2013 Welsh', 'up');
    assert.match(await page.getAttribute('#graph', 'aria-label'), /3 down.*no answer from Parker/);
    await herd.start('Parker');
    await link(page, 'Alford \u2013 Parker', 'up');
  },

  async 'without its server the page is paused and says how old it is; then it is live again'(page) {
    await herd.kill('Alford');
    await becomes(page, '#state', 'paused');
    await becomes(page, '#banner', /^Paused\. This is \d+ s old/);
    await herd.start('Alford');
    await becomes(page, '#state', 'live');
    await report('after/phone', 1, 1);
    await page.fill('#query', 'after/');
    await becomes(page, '#found bdi', 'after/phone');
    await page.fill('#query', '');
  },

  async 'an error at the stream does not end it'(page) {
    let refusals = 0;
    await page.route('**/v1/events*', route => ++refusals > 1 ? route.continue() : route.fulfill({ status: 503 }));
    await page.reload();
    await becomes(page, '#state', 'live');
    assert(refusals > 1);
    await page.unroute('**/v1/events*');
  },

  async 'a refused token is named'(page) {
    const refuse = route => route.fulfill({ status: 401 });
    await page.route(/v1.events|status.json/, refuse);
    await page.reload();
    await becomes(page, '#banner', /^The server wants a token/);
    await page.goto(`${herd.urls.Alford}/?token=wrong`);
    await becomes(page, '#banner', /^The server wants another token/);
    await page.unroute(/v1.events|status.json/, refuse);
    await page.goto(herd.urls.Alford);
    await becomes(page, '#state', 'live');
  },

  async 'while the page is hidden it has no stream'(page) {
    const hide = hidden => page.evaluate(hidden => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    const followers = async () => {
      const replies = await Promise.all(Object.values(herd.urls).map(async url => (await fetch(`${url}/status.json`)).json()));
      return replies.reduce((sum, status) => sum + status.http.followers, 0);
    };
    const wait = async count => {
      for (let n = 0; n < 300 && await followers() !== count; n++) await page.waitForTimeout(100);
      assert.equal(await followers(), count);
    };
    await hide(true);
    await wait(0);
    await hide(false);
    await wait(1);
    await becomes(page, '#state', 'live');
  },

  async 'the token of the page\'s URL is passed on'(page) {
    const asked = new Set();
    page.on('request', request => /events|status/.test(request.url()) && asked.add(new URL(request.url()).searchParams.get('token')));
    await page.goto(`${herd.urls.Alford}/?token=a%26b`);
    await becomes(page, '#state', 'live');
    await page.waitForFunction(() => document.querySelector('#links li'));
    assert.deepEqual([...asked], ['a&b']);
  },

  async 'clients that are gone vanish, also those that were forgotten while the stream was lost'() {
    const feature = id => ({ type: 'Feature', id, geometry: { type: 'Point', coordinates: [1, 2] }, properties: { time: seconds(), server: 'Alford', diff: '+0.1' } });
    const reports = (...ids) => ['reports', { type: 'FeatureCollection', features: ids.map(feature) }];
    const status = (clients, more) => ['status', { server: 'Alford', clients, herd: [{ name: 'Alford' }], ...more }];
    const again = { resumed: false };
    const streams = [
      [status(3, again), reports('a', 'b', 'c'), ['gone', { ids: ['a'] }]],
      [status(1, again), reports('c'), status(1)],
    ];
    const context = await browser.newContext(), page = await context.newPage();
    await page.route('**/v1/events*', route => {
      const events = streams.shift();
      if (!events) return route.abort();
      const body = events.map(([kind, data]) => `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`).join('');
      return route.fulfill({ contentType: 'text/event-stream', body: `retry: 2500\n\n${body}` });
    });
    await page.goto(herd.urls.Alford);
    await becomes(page, '#clients', '2');
    await becomes(page, '#clients', '1');
    await page.fill('#query', 'c');
    await becomes(page, '#found bdi', 'c');
    await context.close();
  },

  async 'dark, narrow, and without motion'() {
    const page = await open({ colorScheme: 'dark', reducedMotion: 'reduce', viewport: { width: 390, height: 844 } });
    await page.waitForFunction(() => document.getElementById('land').getContext('2d').getImageData(5, 5, 1, 1).data[0] < 60);
    const [map, panel] = await Promise.all(['main', 'aside'].map(name => page.locator(name).boundingBox()));
    assert(panel.y >= map.y + map.height && map.width === 390, 'the panel is under the map');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, 'nothing is wider than the screen');
    // The open client covers the zoom buttons and the scale, and is not covered by them.
    await page.setViewportSize({ width: 390, height: 400 });
    await page.fill('#query', 'joe/');
    await page.press('#query', 'Enter');
    await page.click('#ask');
    await becomes(page, '#near-state', /^Within/);
    const over = await page.evaluate(() => ['zoom', 'scale'].map(id => {
      const [one, find] = [id, 'find'].map(id => document.getElementById(id));
      const [a, b] = [one, find].map(element => element.getBoundingClientRect());
      one.style.pointerEvents = 'auto';
      const [x, y] = [(Math.max(a.left, b.left) + Math.min(a.right, b.right)) / 2, (a.top + Math.min(a.bottom, b.bottom)) / 2];
      return a.top < b.bottom && find.contains(document.elementFromPoint(x, y));
    }));
    assert.deepEqual(over, [true, true]);
    await page.emulateMedia({ colorScheme: 'light' });
    await page.waitForFunction(() => document.getElementById('land').getContext('2d').getImageData(5, 5, 1, 1).data[0] > 200);
    await page.context().close();
  },

  async 'the console has no complaint'() {
    // What a browser says of a server that is killed, of the refusal that it was given, and of this script's looks at pixels.
    const expected = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_SOCKET_NOT_CONNECTED|status of (401|503)|willReadFrequently/;
    assert.deepEqual(noise.flat().filter(line => !expected.test(line)), []);
  },
};

let failed = 0;
const page = await open();
for (const [promise, check] of Object.entries(promises)) {
  const start = Date.now();
  try {
    await check(page);
    console.log(`ok ${promise} (${Date.now() - start} ms)`);
  } catch (error) {
    console.log(`FAILED ${promise}: ${error.message ?? error}`);
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
    failed = 1;
    break;
  }
}
await browser.close();
await herd.end();
process.exit(failed);
