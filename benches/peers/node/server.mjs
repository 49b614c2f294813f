// One server of the herd on Node's net, as section 4 of the original paper imagines it: `node server.mjs Alford`.
//
// The same program as the one on Twisted. Bytes are strings here, one character each (latin1), so that the server
// returns any client id unchanged. A connection is an async generator from chunks to replies, run by `pipeline`,
// which also pauses reading while the client does not read its replies.

import { createWriteStream, readFileSync } from "node:fs";
import net from "node:net";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";

const LOCATION = /^([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)$/;
const STAMP = /^(\d{1,10})(?:\.(\d{1,9}))?$/;
const DIFFERENCE = /^[+-]\d+\.\d+$/;
// Kilometres up to 50 but not 0, and items from 1 to 20; as text, so that no rounding lets 50.000...01 through.
const RADIUS = /^(?=.*[1-9])0*(?:[1-4]?\d(?:\.\d+)?|50(?:\.0+)?)$/;
const BOUND = /^0*(?:[1-9]|1\d|20)$/;
// Not \s, which includes U+00A0 and others.
const WHITE = /[ \t\r\n\f\v]+/;
const WHITE_AT_THE_ENDS = /^[ \t\r\n\f\v]+|[ \t\r\n\f\v]+$/g;

const LINE_BYTES = 16_384;
const PLACES_MS = 8_000;
const FAILED = {
  error_message: "The places provider did not answer sensibly.",
  html_attributions: [],
  results: [],
  status: "UNKNOWN_ERROR",
};

// Undefined while the log is off: then no event is even formatted.
let log;

// Returns latitude and longitude, or undefined.
function coordinates(location) {
  const [, latitude, longitude] = LOCATION.exec(location) ?? [];
  const valid = latitude && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  return valid ? [Number(latitude), Number(longitude)] : undefined;
}

// Returns digits that sort like the stamps, or undefined. A Number has no room for nanoseconds.
function sortable(stamp) {
  const match = STAMP.exec(stamp);
  return match ? match[1].padStart(10, "0") + (match[2] ?? "").padEnd(9, "0") : undefined;
}

// Receipt minus stamp, in seconds. Exact to a millisecond, like Node's only wall clock: performance.timeOrigin has
// more digits, but drifts from it.
function difference(stamp) {
  const seconds = Date.now() / 1_000 - Number(stamp);
  return (seconds < 0 ? "" : "+") + seconds.toFixed(9);
}

class Chatserver {
  constructor(name, places) {
    this.name = name;
    this.places = places;
    this.clients = new Map();
    this.neighbours = [];
  }

  serve(socket) {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    log?.(`Chatserver: connection from ${peer}`);
    socket.setEncoding("latin1").setNoDelay().setDefaultEncoding("latin1");
    // Without this option the iterator would destroy the socket at its end, when replies must still be sent.
    const chunks = socket.iterator({ destroyOnReturn: false });
    pipeline(this.replies(chunks), socket).then(
      () => log?.(`Chatserver: connection lost: ${peer}`),
      (why) => {
        log?.(`Chatserver: connection lost: ${peer}: ${why.message}`);
        socket.destroy();
      },
    );
  }

  async *replies(chunks) {
    let rest = "";
    for await (const chunk of chunks) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      if ([rest, ...lines].some((line) => line.length > LINE_BYTES)) throw new Error("a line too long");
      yield* this.answers(lines);
    }
    // The last line counts even without a newline.
    yield* this.answers([rest]);
  }

  // Yields one string for all lines that arrived together. The replies before a WHATSAT leave before it waits.
  async *answers(lines) {
    let replies = "";
    for (const line of lines) {
      const command = line.replace(WHITE_AT_THE_ENDS, "");
      if (!command) continue;
      log?.(`in: ${JSON.stringify(command)}`);
      let answer = this.answer(command.split(WHITE));
      if (answer instanceof Promise) {
        if (replies) yield replies;
        replies = "";
        answer = await answer;
      }
      if (answer === "") continue;
      answer ??= `? ${command}`;
      log?.(`out: ${JSON.stringify(answer)}`);
      replies += `${answer}\n`;
    }
    if (replies) yield replies;
  }

  // Returns a reply, the promise of one, "" if nothing is sent, or undefined if the command is invalid.
  answer(fields) {
    const [name, ...operands] = fields;
    if (name === "IAMAT" && operands.length === 3) return this.iamat(...operands);
    if (name === "AT" && operands.length === 5) return this.at(...operands);
    if (name === "WHATSAT" && operands.length === 3) return this.whatsat(...operands);
  }

  iamat(client, location, stamp) {
    const order = sortable(stamp);
    if (!order || !coordinates(location)) return;
    const line = `AT ${this.name} ${difference(stamp)} ${client} ${location} ${stamp}`;
    this.learn(client, { order, location, line });
    return line;
  }

  at(server, diff, client, location, stamp) {
    const order = sortable(stamp);
    if (!order || !coordinates(location) || !DIFFERENCE.test(diff)) return;
    this.learn(client, { order, location, line: `AT ${server} ${diff} ${client} ${location} ${stamp}` });
    return "";
  }

  whatsat(client, radius, bound) {
    const sighting = this.clients.get(client);
    if (!sighting || !RADIUS.test(radius) || !BOUND.test(bound)) return;
    return this.nearby(sighting, radius, Number(bound));
  }

  async nearby(sighting, radius, bound) {
    let found = FAILED;
    try {
      found = await this.places(coordinates(sighting.location), Number(radius) * 1_000);
      found.results = found.results.slice(0, bound);
    } catch (why) {
      log?.(`WHATSAT: no places: ${why.message}`);
      found = FAILED;
    }
    const text = Buffer.from(JSON.stringify(found, null, 3)).toString("latin1");
    return `${sighting.line}\n${text}\n`;
  }

  // Keeps and floods a sighting that is newer than the one we have; drops any other.
  learn(client, sighting) {
    const known = this.clients.get(client);
    if (known && known.order >= sighting.order) return;
    this.clients.set(client, sighting);
    for (const neighbour of this.neighbours) neighbour.tell(sighting.line);
  }
}

// Our connection to one neighbour, which reconnects for ever.
class Interserver {
  constructor(chatserver, address) {
    this.chatserver = chatserver;
    this.address = address;
    this.delay = 200;
    this.dial();
  }

  dial() {
    const [host, port] = this.address.split(":");
    const socket = net.connect(Number(port), host).setNoDelay().setDefaultEncoding("latin1");
    socket.on("connect", () => {
      log?.(`Interserver: connected to ${this.address}`);
      this.delay = 200;
      this.link = socket;
      // Sends the whole table, as the neighbour may have missed news; it drops the reports that it knows.
      for (const { line } of this.chatserver.clients.values()) this.tell(line);
    });
    // A neighbour sends only complaints; an answer would cause another one.
    socket.on("data", (chunk) => log?.(`Interserver: in: ${JSON.stringify(chunk.toString("latin1"))}`));
    socket.on("error", (why) => log?.(`Interserver: ${this.address}: ${why.message}`));
    socket.on("close", () => {
      this.link = undefined;
      setTimeout(() => this.dial(), this.delay);
      this.delay = Math.min(2 * this.delay, 5_000);
    });
  }

  tell(line) {
    this.link?.write(`${line}\r\n`);
  }
}

// Google's Nearby Search, or a substitute.
function placesOf(base, key) {
  return async ([latitude, longitude], radius) => {
    const path = `/maps/api/place/nearbysearch/json?location=${latitude},${longitude}&radius=${radius}&key=${key}`;
    const response = await fetch(base + path, { signal: AbortSignal.timeout(PLACES_MS) });
    if (!response.ok) throw new Error(`Places answered ${response.status}`);
    return response.json();
  };
}

function main() {
  const text = { type: "string" };
  const options = { config: text, port: text, places: text, log: text, neighbour: { type: "string", multiple: true } };
  const { values: given, positionals } = parseArgs({ options, allowPositionals: true });
  const [name] = positionals;
  if (!name) throw new Error("usage: server.mjs NAME [--port N] [--neighbour HOST:PORT]... [--places URL] [--log FILE|off]");
  const config = JSON.parse(readFileSync(given.config ?? new URL("../herd.json", import.meta.url), "utf8"));
  const server = config.servers[name] ?? { port: 0, neighbours: [] };
  if (given.log !== "off") {
    const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    const file = createWriteStream(given.log ?? `${name}-${time}.log`, { flags: "a" });
    log = (event) => file.write(`${new Date().toISOString()} ${event}\n`);
  }
  const chatserver = new Chatserver(name, placesOf(given.places ?? config.places, config.key));
  const listener = net.createServer({ allowHalfOpen: true }, (socket) => chatserver.serve(socket));
  listener.listen({ port: Number(given.port ?? server.port), host: "127.0.0.1", backlog: 1_024 }, () =>
    console.log(`${name} listens on ${listener.address().port}`),
  );
  const addresses = given.neighbour ?? server.neighbours.map((one) => `127.0.0.1:${config.servers[one].port}`);
  chatserver.neighbours = addresses.map((address) => new Interserver(chatserver, address));
}

main();
