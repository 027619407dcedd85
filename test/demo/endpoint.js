'use strict';
/*
 * endpoint.js
 *	  An Express endpoint as anybody would write it who receives webhooks: it
 *	  verifies the signature over JSON.stringify(req.body).  What arrives is kept in
 *	  a file, a line of JSON each, for the demo to look at.
 *
 *	WEBHOOK_SECRET=... node endpoint.js FILE
 */
const crypto = require('node:crypto');
const fs = require('node:fs');
const express = require('express');

const SECRET = process.env.WEBHOOK_SECRET;
const received = fs.openSync(process.argv[2], 'a');

const app = express();
app.use(express.json());

app.post('/webhooks/fluxbase', (req, res) => {
  const signature = req.headers['x-fluxbase-signature'];
  const payload = JSON.stringify(req.body);
  const expected = crypto.createHmac('sha256', SECRET).update(payload).digest('hex');
  const verified = signature === expected;

  fs.writeSync(received, JSON.stringify({
    delivery: req.headers['x-fluxbase-delivery'],
    verified,
    body: req.body,
  }) + '\n');
  if (!verified) {
    return res.status(401).send('Invalid signature');
  }
  res.status(200).send('OK');
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(server.address().port);
});
