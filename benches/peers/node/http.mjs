// A server that takes reports by HTTP, on Node's own server: `node http.mjs --port 12200`.
//
// As little as does the work of `PUT /v1/clients/ID` and `POST /owntracks`: it parses the JSON, checks the ranges, keeps each
// client's newest report, and answers with the same body as herd. No host check, tokens, limits, log or neighbours.

import { createServer } from "node:http";
import { parseArgs } from "node:util";

const clients = new Map();

const isWithin = (number, most) => typeof number === "number" && Math.abs(number) <= most;

// Keeps the newest report of a client; returns it and what became of this one, or undefined if it is no report.
function take(id, latitude, longitude, time) {
  const seconds = Number(time);
  if (!isWithin(latitude, 90) || !isWithin(longitude, 180) || !Number.isFinite(seconds)) return undefined;
  const known = clients.get(id);
  if (known && known.seconds > seconds) return { report: known, verdict: "older" };
  const diff = Date.now() / 1_000 - seconds;
  const report = { latitude, longitude, time, seconds, diff: (diff < 0 ? "" : "+") + diff.toFixed(9) };
  clients.set(id, report);
  return { report, verdict: "new" };
}

function answer(response, status, type, text, headers = {}) {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

function put(id, body, response) {
  const taken = take(id, body.lat, body.lon, body.time);
  if (!taken) return answer(response, 422, "application/problem+json", '{"status":422}');
  const { latitude, longitude, time, diff } = taken.report;
  const geometry = { type: "Point", coordinates: [longitude, latitude] };
  const feature = { type: "Feature", id, geometry, properties: { time, server: "Alford", diff } };
  answer(response, 200, "application/geo+json", JSON.stringify(feature), { "Herd-Verdict": taken.verdict });
}

function owntracks(body, response) {
  const isReport = body._type === "location";
  const taken = isReport && take(body.topic.slice(body.topic.indexOf("/") + 1), body.lat, body.lon, body.tst);
  answer(response, 200, "application/json", "[]", taken || !isReport ? {} : { "Herd-Dropped": "1" });
}

const server = createServer((request, response) => {
  let text = "";
  request.setEncoding("utf8");
  request.on("data", (piece) => (text += piece));
  request.on("end", () => {
    try {
      const body = JSON.parse(text);
      const [, id] = /^\/v1\/clients\/([^/]+)$/.exec(request.url) ?? [];
      if (request.method === "PUT" && id) return put(decodeURIComponent(id), body, response);
      if (request.method === "POST" && request.url === "/owntracks") return owntracks(body, response);
      answer(response, 404, "text/plain", "not found\n");
    } catch {
      answer(response, 400, "text/plain", "bad request\n");
    }
  });
});
// Longer than any measurement.
server.keepAliveTimeout = 600_000;

const { values: given } = parseArgs({ options: { port: { type: "string" } } });
server.listen({ port: Number(given.port), host: "127.0.0.1", backlog: 1_024 }, () =>
  console.log(`http listens on ${server.address().port}`),
);
