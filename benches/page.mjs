#!/usr/bin/env node
// Measures how fast the live page draws: frames a second, and the time of its scripts in each frame.
//
//     (cd tests/page && npm ci)      # once
//     benches/page.mjs               # 10,000 and 100,000 clients
//     benches/page.mjs 50000         # this number
//
// The clients are those of tests/page/double.mjs: 15 % of them report each second, and each glides between its reports.
// Chromium draws without a graphics card, at 1440 x 900. The goal is 50 frames a second with 10,000 clients. The stream
// sends up to 5,000 clients a tenth of a second, ten times as many as a server, so that all 100,000 move.
//
// The time of scripts is that of all callbacks of requestAnimationFrame in a frame, which draw the map.

import { availableParallelism, loadavg } from 'node:os';
import { launch } from '../tests/page/chromium.mjs';
import { Double } from '../tests/page/double.mjs';

const SECONDS = 10;

// Runs in the page before its scripts: notes when each frame begins, and how long its callbacks take.
function note() {
  const request = window.requestAnimationFrame.bind(window);
  window.frames_ = [];
  window.requestAnimationFrame = callback => request(now => {
    const start = performance.now();
    callback(now);
    window.frames_.push([now, performance.now() - start]);
  });
}

const percentile = (values, part) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * part)];

async function measure(page, what) {
  await page.evaluate(() => (window.frames_.length = 0));
  const moves = what === 'panning' ? setInterval(() => page.evaluate(() => {
    // A few pixels in each frame, as a hand does.
    const canvas = document.getElementById('dots'), at = x => ({ pointerId: 1, clientX: x, clientY: 300, bubbles: true });
    canvas.setPointerCapture = () => {};
    canvas.dispatchEvent(new PointerEvent('pointerdown', at(700)));
    for (let n = 1; n <= 12; n++) setTimeout(() => canvas.dispatchEvent(new PointerEvent('pointermove', at(700 - 4 * n))), 16 * n);
    setTimeout(() => canvas.dispatchEvent(new PointerEvent('pointerup', at(652))), 220);
  }), 250) : null;
  await page.waitForTimeout(SECONDS * 1000);
  clearInterval(moves);
  const frames = await page.evaluate(() => window.frames_);
  const gaps = frames.slice(1).map(([now], n) => now - frames[n][0]).filter(gap => gap > 0);
  const scripts = frames.map(([, took]) => took);
  const rate = gaps.length / (gaps.reduce((sum, gap) => sum + gap, 0) / 1000);
  return [what, rate, ...[0.5, 0.95].map(part => percentile(gaps, part)), ...[0.5, 0.95].map(part => percentile(scripts, part))];
}

const counts = process.argv[2] ? [Number(process.argv[2])] : [10_000, 100_000];
console.log('| clients | map | frames a second | gap p50, p95 (ms) | scripts p50, p95 (ms) |\n|---:|---|---:|---:|---:|');
for (const count of counts) {
  const double = new Double({ clients: count, batch: 5_000 });
  const urls = await double.startAll(), browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.addInitScript(note);
  await page.goto(urls.Alford);
  const all = count.toLocaleString('en');
  await page.waitForFunction(all => document.getElementById('clients').textContent === all, all, { timeout: 120_000 });
  // Each client has reported once more, so that it glides.
  await page.waitForTimeout(8_000);
  for (const what of ['still', 'panning']) {
    const [, rate, ...times] = await measure(page, what);
    const [gap50, gap95, script50, script95] = times.map(time => time.toFixed(1));
    console.log(`| ${all} | ${what} | ${rate.toFixed(1)} | ${gap50}, ${gap95} | ${script50}, ${script95} |`);
  }
  await browser.close();
  await double.end();
}
console.log(`${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}, ${SECONDS} s each`);
process.exit(0);
