'use strict';
/*
 * misbehave.js
 *	  Answers by path, from a plain 200 to what no server should do.
 *
 *	/ok						200
 *	/status/CODE			that status
 *	/fail/N/CODE			CODE (500) the first N times per delivery, then 200
 *	/told/FILE				the status that the file (its path percent-encoded) holds; 200 without one
 *	/slow/MS				200 after that time
 *	/late/MS/CODE			that status after that time
 *	/pairs/N				200 to the first N, to two at once when both are there; then no answer, ever
 *	/hang					no answer, ever
 *	/drip					an answer that never ends
 *	/close					connection closed without an answer
 *	/reset					connection reset without an answer
 *	/cut					less body than Content-Length promises, then closed
 *	/redirect				302 to /ok
 *	/retry-after/S/CODE		CODE (429) with Retry-After: S the first time, then 200
 *	/retry-after-date/S		the same with a date S seconds away
 *	/big					10 MB
 *	/invalid-utf8			bytes that are no UTF-8, and a NUL
 *	/garbage				bytes that are no HTTP
 *	/headers-huge			more headers than a client should take
 *	/redirect-out			301 to another place, cookies and promises besides
 *	/all-bytes				every byte there is, NUL first
 *	/text					characters of one, two, three and four bytes
 *	/gzip					a body that says it is compressed, and is, a thousandfold
 *	/raw/NAME				what RAW has by that name
 *	/endless/NAME			what ENDLESS has by that name, again and again
 *	/trickle/NAME			what TRICKLE has by that name, a byte at a time
 *	/nonsense/N				429 with the N-th nonsense of RETRY_AFTER at first, then 200
 */
const fs = require('node:fs');
const zlib = require('node:zlib');

const BIG = 10 * 1024 * 1024;

const OK = 'HTTP/1.1 200 OK\r\n';
const PACKED = zlib.gzipSync(Buffer.alloc(BIG));

/* In whatever an endpoint says that must turn up nowhere but in response_body. */
const MARK = 'h0stile';

function packedChunks(times, spelling) {
  let body = PACKED;
  for (let i = 1; i < times; i++) {
    body = zlib.gzipSync(body);
  }
  return Buffer.concat([
    Buffer.from(`${OK}${spelling}\r\n\r\n${body.length.toString(16)}\r\n`),
    body,
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
}

/* Whole answers, after which the connection ends. */
const RAW = {
  empty: '',
  'no-status-line': `${MARK}, as before HTTP/1.0\n`,
  'status-huge': `HTTP/1.1 99999 ${MARK}\r\n\r\n`,
  'status-negative': `HTTP/1.1 -200 ${MARK}\r\n\r\n`,
  'status-zero': `HTTP/1.1 000 ${MARK}\r\n\r\n`,
  'status-word': `HTTP/1.1 OK ${MARK}\r\n\r\n`,
  'version-9': `HTTP/9.9 200 ${MARK}\r\n\r\n`,
  'other-protocol': `ICY 200 ${MARK}\r\n\r\n`,
  'switching': `HTTP/1.1 101 ${MARK}\r\nUpgrade: ${MARK}\r\nConnection: Upgrade\r\n\r\n`,
  'length-negative': `${OK}Content-Length: -1\r\n\r\n${MARK}`,
  'length-huge': `${OK}Content-Length: 99999999999999999999999\r\n\r\n${MARK}`,
  'length-int64': `${OK}Content-Length: 9223372036854775807\r\n\r\n${MARK}`,
  'length-word': `${OK}Content-Length: ${MARK}\r\n\r\n${MARK}`,
  'length-twice': `${OK}Content-Length: 1\r\nContent-Length: 4000\r\n\r\n${MARK}`,
  'chunk-huge': `${OK}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n${MARK}`,
  'chunk-huger': `${OK}Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(64)}\r\n${MARK}`,
  'chunk-negative': `${OK}Transfer-Encoding: chunked\r\n\r\n-5\r\n${MARK}`,
  'chunk-cut': `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\n${MARK}`,
  'header-nul': `${OK}X-Nul: a\0${MARK}\r\nContent-Length: 0\r\n\r\n`,
  'header-none': `${OK}${MARK}\r\n\r\n`,
  'cut-in-header': `${OK}X-Cut: ${MARK}`,
  'gzip-transfer': packedChunks(1, 'Transfer-Encoding: gzip, chunked'),
  'gzip-five-times': packedChunks(5, 'Transfer-Encoding: gzip, gzip, gzip, gzip, gzip, chunked'),
  'gzip-own-line': packedChunks(1, 'Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked'),
  'deflate-transfer': packedChunks(1, 'transfer-encoding:\tdeflate\r\nTransfer-Encoding: chunked'),
  'two-answers': `${OK}Content-Length: 2\r\n\r\nOK${OK}Content-Length: 7\r\n\r\n${MARK}`,
};

/* What comes once, and what then comes without an end. */
const ENDLESS = {
  headers: [OK, `X-Filler: ${MARK.repeat(100)}\r\n`],
  'short-headers': [OK, 'a:b\r\n'],
  'one-header': [`${OK}X-Filler: `, MARK.repeat(100)],
  interim: ['', `HTTP/1.1 103 Early Hints\r\nLink: <${MARK}>\r\n\r\n`],
  'status-line': ['HTTP/1.1 200 ', MARK.repeat(100)],
  'no-status-line': ['', MARK.repeat(100)],
  body: [`${OK}\r\n`, MARK.repeat(100)],
  chunks: [`HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n`, `8\r\n${MARK}!\r\n`],
  trailers: [`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n`, `X-Filler: ${MARK.repeat(100)}\r\n`],
};

/* Slowly, for ever; only timeout_seconds ends it. */
const TRICKLE = {
  status: ['', 'HTTP/1.1 200 '],
  headers: [`${OK}X-Filler: `, 'x'],
  body: [`${OK}Content-Length: 100000\r\n\r\n`, 'x'],
  chunks: [`${OK}Transfer-Encoding: chunked\r\n\r\n`, '1\r\nx\r\n'],
  'chunk-extension': [`${OK}Transfer-Encoding: chunked\r\n\r\n5;`, 'x'],
};

/* First those that say nothing, then those that ask for more than an hour. */
const RETRY_AFTER = ['-1', '', ' ', 'soon', '1.5', '0x10', '1e9', 'NaN', '+5', '\u00b2', 'Thu, 32 Foo 2099 00:00:00 GMT',
  'Thu, 01 Jan 1970 00:00:00 GMT', `1${' '.repeat(500)}0`, 'x'.repeat(5000), '5, 6',
  '99999999999999999999999999', '9'.repeat(60), 'Fri, 31 Dec 9999 23:59:59 GMT'];

/* How often a path has seen a delivery. */
const seen = new Map();

function times(req) {
  const key = `${req.url} ${req.headers['x-fluxbase-delivery']}`;
  const count = (seen.get(key) ?? 0) + 1;
  seen.set(key, count);
  return count;
}

function answer(res, status, body = `status ${status}`, headers = {}) {
  res.writeHead(status, {
    'content-type': 'text/plain',
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  res.end(body);
}

function retryAfter(req, res, status, value) {
  if (times(req) === 1) {
    answer(res, status, `status ${status}`, { 'retry-after': value });
  } else {
    answer(res, 200, 'OK');
  }
}

/* Over HTTP/2 the stream is what breaks, not the connection. */
function breakOff(res, how) {
  if (res.stream) {
    res.stream.close(how === 'reset' ? 2 : 0);
  } else if (how === 'reset') {
    res.socket.resetAndDestroy();
  } else {
    res.socket.destroy();
  }
}

let answered = 0;
let other = null;

function pairs(count, res) {
  if (answered >= count) {
    return;
  }
  if (other === null) {
    other = res;
    return;
  }
  answer(other, 200, 'OK');
  answer(res, 200, 'OK');
  other = null;
  answered += 2;
}

function drip(res) {
  res.writeHead(200, { 'content-type': 'text/plain' });
  const timer = setInterval(() => res.write('.'), 100);
  res.on('close', () => clearInterval(timer));
}

function endless(socket, [first, more]) {
  const send = () => {
    while (!socket.destroyed && socket.write(more));
    if (!socket.destroyed) {
      socket.once('drain', send);
    }
  };
  socket.on('error', () => {});
  socket.write(first);
  send();
}

function trickle(socket, [first, more]) {
  let sent = 0;
  const timer = setInterval(() => socket.write(more[sent++ % more.length]), 50);
  socket.on('error', () => {});
  socket.on('close', () => clearInterval(timer));
  socket.write(first);
}

const routes = {
  ok: (rest, req, res) => answer(res, 200, 'OK'),
  status: ([status], req, res) => answer(res, Number(status)),
  fail: ([count, status = '500'], req, res) => {
    if (times(req) <= Number(count)) {
      answer(res, Number(status));
    } else {
      answer(res, 200, 'OK');
    }
  },
  told: ([file], req, res) => {
    const path = decodeURIComponent(file);
    answer(res, fs.existsSync(path) ? Number(fs.readFileSync(path, 'utf8')) : 200);
  },
  late: ([ms, status], req, res) => setTimeout(() => answer(res, Number(status)), Number(ms)),
  slow: ([ms], req, res) => setTimeout(() => answer(res, 200, 'OK'), Number(ms)),
  pairs: ([count], req, res) => pairs(Number(count), res),
  hang: () => {},
  drip: (rest, req, res) => drip(res),
  close: (rest, req, res) => breakOff(res, 'close'),
  reset: (rest, req, res) => breakOff(res, 'reset'),
  cut: (rest, req, res) => {
    res.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot a thousand bytes');
  },
  redirect: (rest, req, res) => answer(res, 302, 'elsewhere', { location: '/ok' }),
  'retry-after': ([seconds, status = '429'], req, res) =>
    retryAfter(req, res, Number(status), seconds),
  'retry-after-date': ([seconds], req, res) =>
    retryAfter(req, res, 429, new Date(Date.now() + Number(seconds) * 1000).toUTCString()),
  big: (rest, req, res) => answer(res, 200, Buffer.alloc(BIG, 'x')),
  'invalid-utf8': (rest, req, res) =>
    answer(res, 200, Buffer.from([0x61, 0xff, 0xfe, 0x00, 0xc3, 0x28, 0x62])),
  garbage: (rest, req, res) => res.socket.end('this is not what HTTP looks like\r\n\r\n'),
  'redirect-out': (rest, req, res) =>
    answer(res, 301, 'elsewhere', {
      location: 'http://localhost:1/',
      refresh: '0; url=/ok',
      'set-cookie': [`${MARK}=1; Path=/`, `b=${MARK}`],
      'alt-svc': 'h2=":1"; ma=86400, h3=":1"; ma=86400',
      'strict-transport-security': 'max-age=86400; includeSubDomains',
      'www-authenticate': `Basic realm="${MARK}", Negotiate, NTLM`,
      'proxy-authenticate': 'Negotiate',
      link: '</ok>; rel=preload',
    }),
  'all-bytes': (rest, req, res) => answer(res, 200, Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
  text: (rest, req, res) => answer(res, 200, 'e\u00e9\u20ac\u{1f600}'),
  gzip: (rest, req, res) => answer(res, 200, PACKED, { 'content-encoding': 'gzip' }),
  raw: ([name], req, res) => {
    req.socket.on('error', () => {});
    req.socket.end(RAW[name]);
  },
  endless: ([name], req, res) => endless(req.socket, ENDLESS[name]),
  trickle: ([name], req, res) => trickle(req.socket, TRICKLE[name]),
  nonsense: ([n], req, res) => {
    if (times(req) === 1) {
      req.socket.end(`HTTP/1.1 429 Later\r\nConnection: close\r\nRetry-After: ${RETRY_AFTER[n]}\r\nContent-Length: 0\r\n\r\n`);
    } else {
      answer(res, 200, 'OK');
    }
  },
  'headers-huge': (rest, req, res) => {
    const line = `X-Filler: ${'x'.repeat(8000)}\r\n`;
    res.socket.end(`HTTP/1.1 200 OK\r\n${line.repeat(128)}Content-Length: 2\r\n\r\nOK`);
  },
};

function misbehave(name, rest, req, res) {
  const route = routes[name];
  if (route === undefined) {
    answer(res, 404);
  } else {
    route(rest, req, res);
  }
}

module.exports = { misbehave };
