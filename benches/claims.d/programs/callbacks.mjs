// A server in Node's callback style: `node callbacks.mjs PORT`. An exception in a callback has no caller that could
// catch it.

import net from "node:net";

const serve = (socket) => {
  socket.on("data", (chunk) => {
    const line = String(chunk).trim();
    if (line === "FAULT") null.field;
    socket.write(`AT Alford +0.0 ${line.slice(6)}\n`);
  });
};
net.createServer(serve).listen(Number(process.argv[2]), "127.0.0.1");
