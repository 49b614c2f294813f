// Computations of the claims, on Node: see compute.py. The server is the original on Node.

import { readFileSync } from "node:fs";

const PASSES = 60;
const POINTS = 2_000;
const CLIENTS = 1_000;

function best(prepare, run, each) {
  let shortest = Infinity;
  let result;
  for (let number = 0; number < PASSES; number++) {
    const argument = prepare(number);
    const begun = performance.now();
    result = run(argument);
    shortest = Math.min(shortest, performance.now() - begun);
  }
  return [(shortest * 1e6) / each, result];
}

function points() {
  const found = [];
  let state = 1;
  for (let count = 0; count < 2 * POINTS; count++) {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    found.push((state / 2 ** 32) * 3 - 1.5);
  }
  return found;
}

function haversine(places) {
  let total = 0;
  for (let at = 0; at < 2 * POINTS - 2; at += 2) {
    const [a, b, c, d] = [places[at], places[at + 1], places[at + 2], places[at + 3]];
    const [u, v] = [Math.sin((c - a) / 2), Math.sin((d - b) / 2)];
    total += 12742 * Math.asin(Math.sqrt(u * u + Math.cos(a) * Math.cos(c) * v * v));
  }
  return total;
}

function reports(number) {
  const id = (client) => `client-${String(client).padStart(7, "0")}`;
  const line = (_, client) => `IAMAT ${id(client)} +34.068930-118.445127 ${1479413884 + number}.392014450`;
  return Array.from({ length: CLIENTS }, line);
}

// The original's class, without starting a server.
async function reporting(path) {
  const source = readFileSync(path, "utf8").replace(/\nmain\(\);\s*$/, "\nexport { Chatserver, WHITE };\n");
  const server = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
  const chatserver = new server.Chatserver("Alford", undefined);
  return (lines) => {
    for (const line of lines) chatserver.answer(line.split(server.WHITE));
    return chatserver.clients.size;
  };
}

const [what, file] = process.argv.slice(2);
if (what === "haversine") {
  const places = points();
  const [ns, total] = best(() => places, haversine, POINTS - 1);
  console.log(JSON.stringify({ ns, sum: total.toFixed(3) }));
} else if (what === "json") {
  const text = readFileSync(file, "utf8");
  const keep = (indent) => {
    let out;
    for (let count = 0; count < 10; count++) {
      const found = JSON.parse(text);
      found.results = found.results.slice(0, 5);
      out = JSON.stringify(found, null, indent);
    }
    return out.length;
  };
  const [ns, kept] = best(() => 3, keep, 10);
  const [compact_ns] = best(() => undefined, keep, 10);
  console.log(JSON.stringify({ ns, compact_ns, bytes: text.length, kept }));
} else {
  const [ns, known] = best(reports, await reporting(file), CLIENTS);
  console.log(JSON.stringify({ ns, known }));
}
