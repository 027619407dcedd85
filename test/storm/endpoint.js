'use strict';
/*
 * endpoint.js
 *	  An endpoint of the storm: notes what it receives before it answers, and
 *	  misbehaves when told to.
 *
 *	node endpoint.js LOG
 *
 * Prints "listening on PORT".  Lines on stdin set what it does from then on:
 *
 *	ok		200
 *	error	503
 *	gone	410
 *	some	503 to every tenth request
 *	hang	no answer
 *	drip	an answer that never ends
 *	reset	the connection reset without an answer
 *	flap	one of these by turns of a second
 *	down	nobody listens, and connections are cut
 *
 * A line of the log: time in ms, delivery, event, table, row, revision, hash of the
 * body, and whether a 2xx was sent, separated by blanks.
 */
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const readline = require('node:readline');

const log = fs.openSync(process.argv[2], 'a');
const sockets = new Set();
let mode = 'ok';
let port = 0;
let requests = 0;

const answers = {
  ok: (res) => res.writeHead(200, { 'content-length': 2 }).end('OK'),
  error: (res) => res.writeHead(503, { 'content-length': 4 }).end('busy'),
  gone: (res) => res.writeHead(410, { 'content-length': 4 }).end('gone'),
  hang: () => {},
  drip: (res) => {
    res.writeHead(200, { 'content-type': 'text/plain' });
    const timer = setInterval(() => res.write('.'), 100);
    res.on('close', () => clearInterval(timer));
  },
  reset: (res) => res.socket.resetAndDestroy(),
};
const turns = ['ok', 'error', 'reset', 'ok', 'hang', 'drip'];

function presentMode() {
  if (mode === 'some') {
    return ++requests % 10 === 0 ? 'error' : 'ok';
  }
  return mode === 'flap' ? turns[Math.floor(Date.now() / 1000) % turns.length] : mode;
}

function note(req, body, now) {
  const change = JSON.parse(body);
  const hash = crypto.createHash('sha1').update(body).digest('base64');
  const line = [Date.now(), req.headers['x-fluxbase-delivery'], change.event, change.table,
    change.record.id, change.record.rev, hash, now === 'ok' ? 1 : 0];
  fs.writeSync(log, line.join(' ') + '\n');
}

const server = http.createServer({ keepAliveTimeout: 60000 }, (req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const now = presentMode();
    note(req, Buffer.concat(chunks), now);
    if (answers[now] !== undefined && !req.socket.destroyed) {
      answers[now](res);
    }
  });
});

server.on('connection', (socket) => {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
  socket.on('error', () => {});
});
server.on('listening', () => {
  if (port === 0) {
    port = server.address().port;
    process.stdout.write(`listening on ${port}\n`);
  }
});

/* while nobody listened, the port may have become that of somebody's connection */
server.on('error', () => setTimeout(() => {
  if (mode !== 'down' && !server.listening) {
    server.listen(port, '127.0.0.1');
  }
}, 50));

function cut() {
  for (const socket of sockets) {
    socket.destroy();
  }
}

readline.createInterface({ input: process.stdin }).on('line', (wanted) => {
  mode = wanted;
  /* answers that are being waited for end with the trouble */
  if (mode === 'ok' || mode === 'down') {
    cut();
  }
  if (mode === 'down') {
    server.close();
  } else if (!server.listening) {
    server.listen(port, '127.0.0.1');
  }
}).on('close', () => process.exit(0));

server.listen(0, '127.0.0.1');
