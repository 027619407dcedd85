// The endpoints that http_test talks to, each path a way to behave or to
// misbehave.  Prints its ports and its certificate's file, ends with its stdin.
'use strict';

const { execFileSync } = require('child_process');
const fs = require('fs');
const http2 = require('http2');
const net = require('net');
const os = require('os');
const path = require('path');
const tls = require('tls');
const zlib = require('zlib');

const stats = { connections: 0, open: 0, hanging: 0, requests: 0 };

function answer(socket, status, body, headers = '') {
  socket.write(`HTTP/1.1 ${status} Whatever\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`);
}

function repeat(socket, text) {
  const more = () => {
    while (!socket.destroyed && socket.write(text));
    if (!socket.destroyed) socket.once('drain', more);
  };
  more();
}

const routes = {
  echo: (socket, request) => answer(socket, 200, `${request.text}\nconnection ${socket.number}`),
  stats: (socket) => answer(socket, 200, JSON.stringify(stats)),
  status: (socket, request) => answer(socket, request.argument, 'ok'),
  redirect: (socket) => answer(socket, 302, '', 'Location: /status/200\r\n'),
  retry: (socket, request) => answer(socket, request.argument, 'later', 'retry-After:  120 \r\n'),
  early: (socket) => {
    socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n');
    answer(socket, 503, 'late');
  },
  hang: (socket) => {
    stats.hanging++;
    socket.on('close', () => stats.hanging--);
  },
  drip: (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 20);
    socket.on('close', () => clearInterval(timer));
  },
  reset: (socket) => socket.resetAndDestroy(),
  close: (socket) => socket.end(),
  last: (socket) => {
    answer(socket, 200, 'bye', 'Connection: close\r\n');
    socket.end();
  },
  silent: (socket) => {
    answer(socket, 200, 'ok');
    socket.end();
  },
  tired: (socket) => {
    // a second request over the same connection ends it
    if (socket.tired) socket.end();
    else answer(socket, 200, 'ok');
    socket.tired = true;
  },
  partial: (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this'),
  garbage: (socket) => socket.end('\x01\x02\x03 no HTTP at all\r\n\r\n'),
  status_garbage: (socket) => socket.end('HTTP/1.1 abc Hm\r\n\r\n'),
  chunk_garbage: (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n'),
  big: (socket, request) => answer(socket, 200, 'x'.repeat(request.argument)),
  endless: (socket) => {
    socket.write('HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n');
    repeat(socket, '10\r\n0123456789abcdef\r\n');
  },
  headers: (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    repeat(socket, `X-Filler: ${'y'.repeat(1000)}\r\n`);
  },
};

const packed = zlib.gzipSync(Buffer.alloc(1000000));

Object.assign(routes, {
  interim: (socket) => repeat(socket, 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n'),
  transfer: (socket, request) => {
    // gzip as often as asked for
    let body = packed;
    for (let i = 1; i < request.argument; i++) body = zlib.gzipSync(body);
    socket.write('HTTP/1.1 200 OK\r\n'
      + `Transfer-Encoding: ${'gzip, '.repeat(request.argument)}chunked\r\n\r\n${body.length.toString(16)}\r\n`);
    socket.end(Buffer.concat([body, Buffer.from('\r\n0\r\n\r\n')]));
  },
  transfer_lines: (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding:gzip\r\nTransfer-Encoding: chunked\r\n\r\n${packed.length.toString(16)}\r\n`);
    socket.end(Buffer.concat([packed, Buffer.from('\r\n0\r\n\r\n')]));
  },
  chunked: (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding:  Chunked \r\n\r\n2\r\nok\r\n0\r\n\r\n'),
  content: (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${packed.length}\r\n\r\n`);
    socket.write(packed);
  },
  old: (socket) => socket.end('no status line, as before HTTP/1.0\n'),
  remember: (socket) => answer(socket, 200, 'ok', 'Set-Cookie: a=b; Path=/\r\n'
    + 'Alt-Svc: h2="127.0.0.1:1"; ma=3600\r\nStrict-Transport-Security: max-age=3600\r\n'
    + 'WWW-Authenticate: Basic realm="x"\r\nRefresh: 0; url=/echo\r\n'),
});

function serve(socket, text) {
  // A proxy is asked for the whole URL.
  const target = text.split(' ')[1].replace(/^http:\/\/[^/]*/, '');
  const [, name, argument] = target.split('/');
  stats.requests++;
  if (text.startsWith('CONNECT')) answer(socket, 403, 'no');
  else routes[name](socket, { text, argument: Number(argument) });
}

const plain = net.createServer((socket) => {
  let pending = '';
  socket.number = ++stats.connections;
  stats.open++;
  socket.on('close', () => stats.open--);
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    pending += bytes.toString('latin1');
    for (;;) {
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number((/\r\ncontent-length: *(\d+)/i.exec(pending.slice(0, end)) || [])[1] || 0);
      if (pending.length < end + 4 + length) return;
      const text = pending.slice(0, end + 4 + length);
      pending = pending.slice(end + 4 + length);
      serve(socket, text);
    }
  });
});

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'http_test-'));
const file = (name) => path.join(directory, name);
process.on('exit', () => fs.rmSync(directory, { recursive: true }));
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
  '-nodes', '-days', '2', '-subj', '/CN=tls.test', '-addext', 'subjectAltName=DNS:tls.test',
  '-keyout', file('key.pem'), '-out', file('cert.pem')], { stdio: 'ignore' });

const own = { key: fs.readFileSync(file('key.pem')), cert: fs.readFileSync(file('cert.pem')) };
const secure = http2.createSecureServer({ allowHTTP1: true, ...own }, (request, response) => {
  if (request.url === '/hang') return;
  if (request.url.startsWith('/reset/')) {
    // an answer that does not wait for the body, then a reset
    response.end('early');
    response.stream.on('error', () => {});
    setImmediate(() => response.stream.close(Number(request.url.split('/')[2])));
    return;
  }
  request.resume();
  request.on('end', () => response.end(`version ${request.httpVersion}`));
});

// HTTP/2: settings, then acknowledgements of PINGs that nobody sent, as fast as they are taken
const flood = tls.createServer({ ALPNProtocols: ['h2'], ...own }, (socket) => {
  const answers = Buffer.alloc(17 * 4000, Buffer.from([0, 0, 8, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
  socket.on('error', () => {});
  socket.resume();
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  repeat(socket, answers);
});

const servers = [plain, secure, flood];
Promise.all(servers.map((server) => new Promise((done) => server.listen(0, '127.0.0.1', done)))).then(() => {
  console.log(`${servers.map((server) => server.address().port).join(' ')} ${file('cert.pem')}`);
});
process.stdin.on('end', () => process.exit());
process.stdin.resume();
