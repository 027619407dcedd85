'use strict';
/*
 * misbehave.js
 *	  Answers by path, from a plain 200 to what no server should do.
 *
 *	/ok						200
 *	/status/CODE			that status
 *	/fail/N/CODE			CODE (500) the first N times per delivery, then 200
 *	/slow/MS				200 after that time
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
 */
const BIG = 10 * 1024 * 1024;

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

function drip(res) {
  res.writeHead(200, { 'content-type': 'text/plain' });
  const timer = setInterval(() => res.write('.'), 100);
  res.on('close', () => clearInterval(timer));
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
  slow: ([ms], req, res) => setTimeout(() => answer(res, 200, 'OK'), Number(ms)),
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
