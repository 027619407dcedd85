'use strict';
/*
 * relay.js
 *	  Connections handed on to another port, until a file is there: from then on those
 *	  that there are carry nothing any more, and nobody is told, as when a machine is lost.
 *
 *	node relay.js --log FILE --to PORT --freeze FILE
 *
 * Each connection is a line in the log.  Prints "listening on PORT".
 */
const fs = require('node:fs');
const net = require('node:net');
const { parseArgs } = require('node:util');

const { values: options } = parseArgs({
  options: {
    log: { type: 'string' },
    to: { type: 'string' },
    freeze: { type: 'string' },
  },
});

/* Is it one of those that carry nothing? */
function frozen(opened) {
  return fs.existsSync(options.freeze) && opened < fs.statSync(options.freeze).mtimeMs;
}

const server = net.createServer((near) => {
  const opened = Date.now();
  const far = net.connect(Number(options.to), '127.0.0.1');
  const carry = (from, to) => {
    from.on('error', () => {});
    from.on('data', (bytes) => frozen(opened) || to.write(bytes));
    from.on('close', () => frozen(opened) || to.destroy());
  };
  fs.appendFileSync(options.log, JSON.stringify({ path: 'connection' }) + '\n');
  carry(near, far);
  carry(far, near);
});

server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on ${server.address().port}\n`);
});
