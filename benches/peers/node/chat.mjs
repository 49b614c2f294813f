// A chat server on Node's net: `node chat.mjs [PORT]`. It sends each line of a client to all other clients.
//
// Bytes are strings here, one character each (latin1).

import net from "node:net";

const LINE_BYTES = 16_384;
const UNSENT_BYTES = 65_536;

const clients = new Set();

function serve(socket) {
  let rest = "";
  const say = (line) => {
    const text = line.replace(/\r$/, "") + "\n";
    for (const other of clients) {
      // A client that does not read misses lines, so that it does not fill our memory.
      if (other !== socket && other.writableLength < UNSENT_BYTES) other.write(text);
    }
  };
  socket.setEncoding("latin1").setDefaultEncoding("latin1");
  socket.write("welcome\n");
  clients.add(socket);
  socket.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.length > LINE_BYTES) return socket.destroy();
      say(line);
    }
    if (rest.length > LINE_BYTES) return socket.destroy();
    // While our buffer for this client is full, nothing is read from it.
    if (socket.writableNeedDrain) socket.pause().once("drain", () => socket.resume());
  });
  // The client has half-closed. Its last line counts even without a newline.
  socket.on("end", () => {
    if (rest) say(rest);
    socket.end();
  });
  // "close" follows.
  socket.on("error", () => {});
  socket.on("close", () => clients.delete(socket));
}

const listener = net.createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: UNSENT_BYTES }, serve);
listener.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(`127.0.0.1:${listener.address().port}`));
