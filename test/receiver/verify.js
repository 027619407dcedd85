'use strict';
/*
 * verify.js
 *	  Handlers that verify a signature in each of the ways that users do:
 *
 *	express		Express, JSON.stringify(req.body), compared by !==
 *	nextjs		a Next.js API route: parsed body, answers by res.json
 *	timing-safe	Express, JSON.stringify(payload), crypto.timingSafeEqual
 *	raw			Express, over the bytes as they came
 *	standard	the standardwebhooks library, over the bytes as they came
 *	previous	the signature with the secret before the last rotation, over
 *				the bytes as they came
 *
 * Each answers 200 when it verified and 401 when not, as /verify/NAME does with the
 * receiver's secret, or that of ?secret=.
 */
const crypto = require('node:crypto');
const express = require('express');
const { Webhook } = require('standardwebhooks');

function hmac(secret, payload) {
  return crypto.createHmac('sha256', secret).update(payload).digest('hex');
}

function timingSafe(payload, signature, secret) {
  const expected = hmac(secret, JSON.stringify(payload));
  return signature !== undefined && signature.length === expected.length
    && crypto.timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
}

function standard(req, secret) {
  try {
    const webhook = secret.startsWith('whsec_')
      ? new Webhook(secret)
      : new Webhook(Buffer.from(secret, 'utf8'), { format: 'raw' });
    webhook.verify(req.raw.toString('utf8'), req.headers);
    return true;
  } catch (problem) {
    req.problem = problem.message;
    return false;
  }
}

const ways = {
  express: (req, secret) =>
    req.headers['x-fluxbase-signature'] === hmac(secret, JSON.stringify(req.body)),
  nextjs: (req, secret) =>
    req.headers['x-fluxbase-signature'] === hmac(secret, JSON.stringify(req.body)),
  'timing-safe': (req, secret) =>
    timingSafe(req.body, req.headers['x-fluxbase-signature'], secret),
  raw: (req, secret) => req.headers['x-fluxbase-signature'] === hmac(secret, req.raw),
  previous: (req, secret) =>
    req.headers['x-fluxbase-signature-previous'] === hmac(secret, req.raw),
  standard,
};

/* What express.json() does not keep. */
function keepRaw(req, res, raw) {
  req.raw = raw;
}

function reply(name, res, verified) {
  if (name === 'nextjs') {
    res.status(verified ? 200 : 401).json(verified ? { received: true } : { error: 'Invalid signature' });
  } else {
    res.status(verified ? 200 : 401).send(verified ? 'OK' : 'Invalid signature');
  }
}

function makeApp(name, record) {
  const app = express();
  app.use(express.json({ limit: '300mb', verify: keepRaw }));
  app.use((req, res) => {
    const verified = ways[name](req, req.secret);
    record(req, { verified, problem: req.problem });
    reply(name, res, verified);
  });
  /* a body that is no JSON */
  app.use((problem, req, res, next) => {
    req.raw ??= Buffer.alloc(0);
    record(req, { verified: false, problem: problem.message });
    res.status(400).send('no JSON');
  });
  return app;
}

/* By name, a function of secret, request and response. */
function verifiers(record) {
  const handlers = {};
  for (const name of Object.keys(ways)) {
    const app = makeApp(name, record);
    handlers[name] = (secret, req, res) => {
      req.secret = secret;
      app(req, res);
    };
  }
  return handlers;
}

module.exports = { verifiers };
