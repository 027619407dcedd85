'use strict';
/*
 * listener.js
 *	  Who connects, and to which address of this machine?  A line of JSON for
 *	  each connection as it is accepted, before a byte has arrived, and one for
 *	  each request.  Answers 200 and closes.
 *
 *	node listener.js --log FILE [--host ADDRESS] [--port PORT]
 *
 * Without an address it listens on every one there is, IPv4 and IPv6.  Prints
 * "listening on PORT".
 */
const fs = require('node:fs');
const net = require('node:net');
const { parseArgs } = require('node:util');

const { values: options } = parseArgs({
  options: {
    log: { type: 'string' },
    host: { type: 'string', default: '::' },
    port: { type: 'string', default: '0' },
  },
});
const log = fs.openSync(options.log, 'a');

function note(entry) {
  fs.writeSync(log, JSON.stringify(entry) + '\n');
}

const server = net.createServer((socket) => {
  const to = socket.localAddress.replace(/^::ffff:/, '');
  let asked = false;

  note({ path: 'connection', to, body: '' });
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    if (!asked) {
      asked = true;
      note({ path: 'request', to, body: bytes.toString('base64') });
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    }
  });
});

/* A machine may be without IPv6. */
server.once('error', (problem) => {
  if (options.host !== '::') {
    throw problem;
  }
  server.listen({ port: Number(options.port), host: '0.0.0.0' });
});
server.on('listening', () => {
  process.stdout.write(`listening on ${server.address().port}\n`);
});
server.listen({ port: Number(options.port), host: options.host });
