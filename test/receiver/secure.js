'use strict';
/*
 * secure.js
 *	  TLS servers that are out of date or break HTTP/2.
 *
 *	node secure.js --log FILE --key FILE --cert FILE --mode MODE
 *
 * Modes: "tls1.1" and "tls1.2" offer that version alone; the others agree on HTTP/2
 * and then send what they are called after.  Prints "listening on PORT".
 */
const tls = require('node:tls');
const fs = require('node:fs');
const { parseArgs } = require('node:util');

const { values: options } = parseArgs({
  options: {
    log: { type: 'string' },
    key: { type: 'string' },
    cert: { type: 'string' },
    mode: { type: 'string' },
  },
});

/* An HTTP/2 frame. */
function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const SETTINGS = frame(4, 0, 0);
const status200 = Buffer.from([0x88]);
const filler = Buffer.concat([Buffer.from([0x00, 0x01, 0x61, 0x7f, 0xe1, 0x06]), Buffer.alloc(992, 'x')]);

/* First, and then again and again. */
const modes = {
  garbage: [Buffer.from('this is not what HTTP/2 looks like\r\n\r\n')],
  goaway: [SETTINGS, frame(7, 0, 0, Buffer.alloc(8))],
  reset: [SETTINGS, frame(3, 0, 1, Buffer.from([0, 0, 0, 2]))],
  'huge-frame': [SETTINGS, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])],
  'wrong-stream': [SETTINGS, frame(0, 0, 2, Buffer.from('x'))],
  'bad-hpack': [SETTINGS, frame(1, 4, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))],
  'header-flood': [Buffer.concat([SETTINGS, frame(1, 0, 1, status200)]), frame(9, 0, 1, filler)],
  'settings-flood': [SETTINGS, Buffer.concat(Array(100).fill(SETTINGS))],
  'ping-flood': [SETTINGS, Buffer.concat(Array(100).fill(frame(6, 0, 0, Buffer.alloc(8))))],
  'answer-flood': [SETTINGS, Buffer.alloc(17 * 4000, frame(6, 1, 0, Buffer.alloc(8)))],
  'endless-body': [Buffer.concat([SETTINGS, frame(1, 4, 1, status200)]), frame(0, 0, 1, Buffer.alloc(16000, 'x'))],
  'push': [SETTINGS, frame(5, 4, 1, Buffer.from([0, 0, 0, 2, 0x82, 0x86, 0x84]))],
};

function serve(socket) {
  const [first, more] = modes[options.mode] ?? [Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK')];
  const send = () => {
    while (!socket.destroyed && socket.write(more));
    if (!socket.destroyed) {
      socket.once('drain', send);
    }
  };
  socket.on('error', () => {});
  socket.once('data', (bytes) => {
    fs.appendFileSync(options.log,
      JSON.stringify({ path: 'request', protocol: socket.getProtocol(), body: bytes.toString('base64') }) + '\n');
    socket.write(first);
    if (more !== undefined) {
      send();
    } else if (modes[options.mode] !== undefined) {
      socket.end();
    }
  });
}

const version = { 'tls1.1': 'TLSv1.1', 'tls1.2': 'TLSv1.2' }[options.mode];
const server = tls.createServer({
  key: fs.readFileSync(options.key),
  cert: fs.readFileSync(options.cert),
  ...(version === undefined
    ? { ALPNProtocols: ['h2'] }
    : { minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' }),
}, serve);

server.on('tlsClientError', () => {});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on ${server.address().port}\n`);
});
