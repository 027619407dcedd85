'use strict';
/*
 * receiver.js
 *	  The endpoints that tests deliver to: some verify a signature in one of
 *	  the ways users do, the others misbehave in one way each.
 *
 *	node receiver.js --log FILE [--secret SECRET] [--key FILE --cert FILE]
 *
 * Listens on a free port of 127.0.0.1 and prints "listening on PORT".  With a key
 * and a certificate it speaks https, HTTP/2 and HTTP/1.1.  Each request is a line
 * of JSON in the log, written before any answer: a test that sees an answer
 * recorded finds the request in the log.
 */
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const { parseArgs } = require('node:util');

const { misbehave } = require('./misbehave');
const { verifiers } = require('./verify');

const { values: options } = parseArgs({
  options: {
    log: { type: 'string' },
    secret: { type: 'string', default: '' },
    key: { type: 'string' },
    cert: { type: 'string' },
  },
});
const log = fs.openSync(options.log, 'a');

/* Connections are numbered, so that a test sees which requests shared one. */
let connections = 0;
const connectionNumber = new WeakMap();

function number(socket) {
  if (!connectionNumber.has(socket)) {
    connectionNumber.set(socket, ++connections);
  }
  return connectionNumber.get(socket);
}

/* What the test reads: see FluxhooksTest::requests. */
function record(req, outcome) {
  const socket = req.stream ? req.stream.session.socket : req.socket;
  const entry = {
    time: Date.now(),
    method: req.method,
    path: req.originalUrl || req.url,
    http_version: req.httpVersion,
    connection: req.connectionNumber,
    remote_port: socket.remotePort,
    headers: req.headers,
    header_names: req.stream ? Object.keys(req.headers) : req.rawHeaders.filter((_, i) => i % 2 === 0),
    body: req.raw.toString('base64'),
    ...outcome,
  };
  fs.writeSync(log, JSON.stringify(entry) + '\n');
}

async function readBody(req) {
  const chunks = [];
  for await (const chunk of req) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/*
 * A verifying route reads the body by itself, as a user's handler would;
 * every other one is answered after the whole request has been read.
 */
const verify = verifiers(record);

async function handle(req, res) {
  const url = new URL(req.url, 'http://localhost');
  const secret = url.searchParams.get('secret') ?? options.secret;
  const [first, ...rest] = url.pathname.split('/').filter(Boolean);

  req.connectionNumber = number(req.stream ? req.stream.session : req.socket);
  if (first === 'verify' && verify[rest[0]] !== undefined && req.stream === undefined) {
    verify[rest[0]](secret, req, res);
    return;
  }
  req.raw = await readBody(req);
  record(req, {});
  misbehave(first, rest, req, res);
}

function serve(req, res) {
  handle(req, res).catch((problem) => {
    /* the client went away while sending */
    if (problem.code !== 'ECONNRESET') {
      throw problem;
    }
  });
}

const limits = { maxHeaderSize: 1024 * 1024, keepAliveTimeout: 60000 };
const server = options.key === undefined
  ? http.createServer(limits, serve)
  : http2.createSecureServer({
      allowHTTP1: true,
      key: fs.readFileSync(options.key),
      cert: fs.readFileSync(options.cert),
    }, serve);

server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on ${server.address().port}\n`);
});
