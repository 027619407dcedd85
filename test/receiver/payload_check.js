// payload_check.js
//
// Property test of bodies, driven by t/020_payload.pl.  From one seed it makes
// row changes and, by JavaScript's own means, what their bodies must say:
//
//   node payload_check.js sql SEED        tables and rows, as SQL
//   node payload_check.js check SEED      bodies on stdin, one a line, in hex
//   node payload_check.js fit SEED SIZE   the same for rows that are too large
//   node payload_check.js fit-sql SEED
//   node payload_check.js lines           stdin: hex body TAB expected record
//
// Prints one line per failure and "ok N" at the end; exits 1 on failure.
'use strict';

const KEYS = ['event', 'table', 'schema', 'record', 'old_record', 'timestamp', 'webhook_id'];

// Random numbers from a seed (mulberry32).
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

class Maker {
  constructor(seed) {
    this.next = random(seed);
  }

  below(n) {
    return Math.floor(this.next() * n);
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  bits(n) {
    let value = 0n;
    for (let i = 0; i < n; i++) value = (value << 1n) | BigInt(this.next() < 0.5 ? 0 : 1);
    return value;
  }

  string(pieces, max) {
    return Array.from({ length: this.below(max) }, () => this.pick(pieces)).join('');
  }
}

// The decimal value of a number's text, whatever its spelling.
function decimal(text) {
  const [mantissa, exponent = '0'] = text.toLowerCase().split('e');
  const negative = mantissa.startsWith('-');
  const [whole, fraction = ''] = mantissa.replace('-', '').split('.');
  const all = (whole + fraction).replace(/^0+/, '');
  const digits = all.replace(/0+$/, '');
  if (digits === '') return '0';
  const point = BigInt(exponent) - BigInt(fraction.length) + BigInt(all.length - digits.length);
  return `${negative ? '-' : ''}${digits}e${point}`;
}

// How a number stands in a body: as JavaScript spells it, or with every digit.
function number(text) {
  const value = Number(text);
  const spelled = JSON.stringify(value);
  return Number.isFinite(value) && decimal(spelled) === decimal(text) ? spelled : text;
}

function pad(value, width) {
  return String(value).padStart(width, '0');
}

function fraction(micros) {
  return micros === 0n ? '' : '.' + pad(micros, 6).replace(/0+$/, '');
}

// Microseconds since 1970 as ISO 8601, by JavaScript's Date.
function instant(micros, zone) {
  const rest = ((micros % 1000000n) + 1000000n) % 1000000n;
  const iso = new Date(Number((micros - rest) / 1000n)).toISOString();
  return iso.slice(0, -5) + fraction(rest) + zone;
}

function clock(micros) {
  const seconds = micros / 1000000n;
  return [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n].map((n) => pad(n, 2)).join(':') +
    fraction(micros % 1000000n);
}

function interval(months, days, micros) {
  const part = (value, unit) => (value === 0n ? '' : `${value}${unit}`);
  const seconds = micros % 60000000n;
  const size = seconds < 0n ? -seconds : seconds;
  const time = part(micros / 3600000000n, 'H') + part((micros / 60000000n) % 60n, 'M') +
    (seconds === 0n ? '' : `${seconds < 0n ? '-' : ''}${size / 1000000n}${fraction(size % 1000000n)}S`);
  const date = part(BigInt(Math.trunc(months / 12)), 'Y') + part(BigInt(months % 12), 'M') +
    part(BigInt(days), 'D');
  return 'P' + date + (time ? 'T' + time : date ? '' : 'T0S');
}

const PIECES = ['a', 'bc', ' ', 'plain text that is longer', '"', '\\', '/', '\b', '\f', '\n', '\r',
  '\t', '\u0001', '\u001f', '\u007f', '\u0080', 'é', 'ß', '\u2028', '\u2029', '\ufeff', '\ufffd',
  '\uffff', '漢字', '😀', '\u{10ffff}', '1', '<script>', "'", '$1'];

const SPELLINGS = ['\\u0041', '\\/', '\\"', '\\\\', '\\b\\f\\n\\r\\t', '\\u001f', '\\u2028',
  '\\ud83d\\ude00', '\\uD83D\\uDE00', 'é', '😀', 'text', ' '];
const JSON_ONLY = ['\\u0000', '\\ud800', '\\udfff', '\\ud83dx', '\\ud83d\\u0041', '\\ud83d\\ud83d\\ude00'];
const NUMBERS = ['0', '-0', '-0.0', '1', '-1', '1.10', '100.00', '1e21', '1E21', '1e+20', '0.1', '1e-7',
  '1e-6', '0.000001', '0.0000001', '1e23', '1.7976931348623157e308', '9007199254740992', '5e-324',
  '9007199254740993', '12345678901234567890', '1e400', '0.1000000000000000055511151231257827'];
const NAMES = ['0', '1', '2', '10', '01', '-1', '1.5', '4294967294', '4294967295', '4294967296', '',
  'a', 'b', 'toString', '__proto__', 'constructor'];

// Text of a JSON document with every freedom of spelling that JSON allows.
function document(m, isJson, depth = 0) {
  const space = () => m.pick(['', '', '', ' ', '\n', '\t \r\n']);
  const string = () => `"${m.string(isJson ? SPELLINGS.concat(JSON_ONLY) : SPELLINGS, 5)}"`;
  const kind = m.below(depth > 3 ? 4 : 7);
  if (kind === 0) return m.pick(['true', 'false', 'null']);
  if (kind === 1) return m.pick(NUMBERS);
  if (kind === 2) return String(m.next() * 10 ** m.below(25));
  if (kind === 3) return string();
  const members = Array.from({ length: m.below(9) ? m.below(5) : m.below(40) }, () => {
    const key = m.below(3) ? JSON.stringify(m.pick(NAMES)) : string();
    return space() + (kind < 6 ? key + space() + ':' + space() : '') + document(m, isJson, depth + 1) + space();
  });
  return (kind < 6 ? '{' : '[') + (members.join(',') || space()) + (kind < 6 ? '}' : ']');
}

// The canonical text of a document, by JSON.parse with numbers kept as text.
// jsonb first puts keys in its own order: by length, then by byte.
function canonical(text, isJsonb) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[-+.\w]+|[{}[\]]/gs);
  let at = 0;
  const read = () => {
    const token = tokens[at++];
    if (token === '[') {
      const items = [];
      while (tokens[at] !== ']') items.push(read());
      at++;
      return `[${items.join(',')}]`;
    }
    if (token === '{') {
      const members = new Map();
      while (tokens[at] !== '}') {
        const key = JSON.parse(tokens[at++]);
        members.set(key, read());
      }
      at++;
      let keys = [...members.keys()];
      if (isJsonb)
        keys.sort((a, b) => Buffer.byteLength(a) - Buffer.byteLength(b) || Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const order = JSON.parse(`{${keys.map((key) => `${JSON.stringify(key)}:0`).join(',')}}`);
      return `{${Object.keys(order).map((key) => `${JSON.stringify(key)}:${members.get(key)}`).join(',')}}`;
    }
    if (token[0] === '"') return JSON.stringify(JSON.parse(token));
    return /^[-\d]/.test(token) ? number(isJsonb ? plain(token) : token) : token;
  };
  return read();
}

// numeric's own spelling: no exponent, no sign on zero.
function plain(text) {
  const [mantissa, exponent = '0'] = text.toLowerCase().split('e');
  const [whole, rest = ''] = mantissa.replace('-', '').split('.');
  const places = Math.max(rest.length - Number(exponent), 0);
  const shift = Number(exponent);
  let digits = whole + rest.padEnd(Math.max(shift, rest.length), '0');
  let point = whole.length + shift;
  if (point <= 0) {
    digits = '0'.repeat(1 - point) + digits;
    point = 1;
  }
  const head = digits.slice(0, point).replace(/^0+(?=\d)/, '');
  const tail = digits.slice(point, point + places);
  const sign = mantissa.startsWith('-') && /[1-9]/.test(digits) ? '-' : '';
  return sign + head + (tail ? '.' + tail : '');
}

function utf8(text) {
  return `convert_from('\\x${Buffer.from(text).toString('hex')}','UTF8')`;
}

// One random value of each type with a writer of its own: [SQL, JSON].
const TYPES = {
  boolean: (m) => m.pick([['true', 'true'], ['false', 'false']]),
  smallint: (m) => same(BigInt.asIntN(16, m.bits(16))),
  integer: (m) => same(BigInt.asIntN(32, m.bits(32))),
  bigint: (m) => same(m.pick([1n, -1n]) * (m.bits(63) >> BigInt(m.below(63)))),
  real: (m) => {
    for (;;) {
      const value = new Float32Array(new Uint32Array([Number(m.bits(32))]).buffer)[0];
      const digits = floatDigits(value);
      const longer = value.toPrecision(digits + 1);
      // two decimals of one length that are equally near: either would do
      if (!/5(e|$)/.test(longer) || Number(longer) !== value)
        return float(value, () => JSON.stringify(Number(value.toPrecision(digits))));
    }
  },
  'double precision': (m) => {
    const value = m.below(2) ? Number(m.pick(['', '-']) + (1 + m.below(99)) + 'e' + (m.below(600) - 300)) :
      new Float64Array(new BigUint64Array([m.bits(64)]).buffer)[0];
    return float(value, JSON.stringify);
  },
  numeric: (m) => {
    const digits = (n) => Array.from({ length: n }, () => m.below(10)).join('');
    const whole = (digits(m.below(m.pick([3, 12, 30]))).replace(/^0+/, '') || '0') + '0'.repeat(m.pick([0, 0, 0, 5, 22]));
    const rest = m.pick(['', '.' + '0'.repeat(m.below(9)) + digits(1 + m.below(18)), '.10', '.00']);
    const text = (/[1-9]/.test(whole + rest) ? m.pick(['', '-']) : '') + whole.replace(/^0+(?=\d)/, '') + rest;
    return [`'${text}'`, number(text)];
  },
  text: (m) => strings(m),
  varchar: (m) => strings(m),
  'char(9)': (m) => {
    const text = m.string(['a', 'é', '"', '漢', '\\', '\n'], 9);
    return [utf8(text), JSON.stringify(text.padEnd(9))];
  },
  name: (m) => {
    const text = m.string(['a', 'é', '"', '\\', ' '], 20);
    return [utf8(text), JSON.stringify(text)];
  },
  bytea: (m) => {
    const hex = Array.from({ length: m.below(40) }, () => pad(m.below(256).toString(16), 2)).join('').repeat(m.pick([1, 1, 60]));
    return [`'\\x${hex}'`, JSON.stringify('\\x' + hex)];
  },
  uuid: (m) => {
    const uuid = pad(m.bits(128).toString(16), 32).replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    return [`'${uuid}'`, JSON.stringify(uuid)];
  },
  timestamptz: (m) => {
    const at = moment(m);
    return [`timestamptz '1970-01-01 00:00:00Z' + ${at.sql}`, JSON.stringify(instant(at.micros, 'Z'))];
  },
  timestamp: (m) => {
    const at = moment(m);
    return [`timestamp '1970-01-01 00:00:00' + ${at.sql}`, JSON.stringify(instant(at.micros, ''))];
  },
  date: (m) => {
    const days = m.below(2) ? m.below(30000) : m.below(100000000) - 2440000;
    const iso = new Date(days * 86400000).toISOString();
    return [`date '1970-01-01' + ${days}`, JSON.stringify(iso.slice(0, iso.indexOf('T')))];
  },
  time: (m) => {
    const micros = BigInt(m.below(86400)) * 1000000n + fine(m);
    return [`'${clock(micros)}'`, JSON.stringify(clock(micros))];
  },
  timetz: (m) => {
    const micros = BigInt(m.below(86400)) * 1000000n + fine(m);
    const zone = m.pick(['+00:00', '+02:00', '-03:30', '+05:45', '-12:00', '+01:02:03']);
    return [`'${clock(micros)}${zone}'`, JSON.stringify(clock(micros) + zone)];
  },
  interval: (m) => {
    const months = m.pick([0, m.below(5000) - 2500]);
    const days = m.pick([0, m.below(80) - 40]);
    const micros = m.pick([0n, BigInt(m.below(200000) - 100000) * 1000000n + fine(m)]);
    return [`make_interval(months => ${months}, days => ${days}) + interval '1 microsecond' * ${micros}`,
      JSON.stringify(interval(months, days, micros))];
  },
  json: (m) => {
    const text = document(m, true);
    return [utf8(text) + '::json', canonical(text, false)];
  },
  jsonb: (m) => {
    const text = document(m, false);
    return [utf8(text) + '::jsonb', canonical(text, true)];
  },
};

// How many digits tell a float4 from its neighbours: what lies halfway does not.
function floatDigits(value) {
  const above = new Float32Array(new Uint32Array([new Uint32Array(new Float32Array([value]).buffer)[0] + 1]).buffer)[0];
  const near = (text) => Math.fround(Number(text)) === value && 2 * Math.abs(Number(text) - value) < Math.abs(above - value);
  let digits = 1;
  while (digits < 9 && !near(value.toPrecision(digits))) digits++;
  return digits;
}

function same(value) {
  return [`'${value}'`, number(String(value))];
}

function float(value, spell) {
  const text = Object.is(value, -0) ? '-0' : String(value);
  return [`'${text}'`, Number.isFinite(value) ? spell(value) : JSON.stringify(text)];
}

function strings(m) {
  const text = m.string(PIECES, 12).repeat(m.pick([1, 1, 1, 40]));
  return [utf8(text), JSON.stringify(text)];
}

function fine(m) {
  return BigInt(m.pick([0, 123000, 500000, 1, 999999, m.below(1000000)]));
}

function moment(m) {
  const days = m.below(2) ? m.below(30000) : m.below(100000000) - 2440000;
  const seconds = m.below(86400);
  const micros = fine(m);
  return {
    micros: (BigInt(days) * 86400n + BigInt(seconds)) * 1000000n + micros,
    sql: `make_interval(days => ${days}, secs => ${seconds}) + interval '1 microsecond' * ${micros}`,
  };
}

// Values whose body is worth writing out: [type, SQL, JSON].
const FIXED = [
  ['double precision', "'1e23'", '1e+23'],
  ['double precision', "'9.5367431640625e-7'", '9.5367431640625e-7'],
  ['double precision', "'-0'", '0'],
  ['double precision', "'NaN'", '"NaN"'],
  ['double precision', "'-Infinity'", '"-Infinity"'],
  ['real', "'16777216'", '16777216'],
  ['numeric', "'NaN'", '"NaN"'],
  ['numeric', "'1e21'", '1e+21'],
  ['numeric', "'9007199254740993'", '9007199254740993'],
  ['numeric', "'-0.0000001'", '-1e-7'],
  ['bigint', "'-9223372036854775808'", '-9223372036854775808'],
  ['timestamptz', "'2025-11-02 10:30:00Z'", '"2025-11-02T10:30:00Z"'],
  ['timestamptz', "'2025-11-02 10:30:00.1234+05:30'", '"2025-11-02T05:00:00.1234Z"'],
  ['timestamptz', "'infinity'", '"infinity"'],
  ['timestamptz', "'-infinity'", '"-infinity"'],
  ['timestamptz', "'0044-03-15 12:00:00Z BC'", '"-000043-03-15T12:00:00Z"'],
  ['timestamptz', "'0001-12-31 23:59:59Z BC'", '"0000-12-31T23:59:59Z"'],
  ['timestamp', "'4713-01-01 00:00:00 BC'", '"-004712-01-01T00:00:00"'],
  ['timestamp', "'294276-12-31 23:59:59.999999'", '"+294276-12-31T23:59:59.999999"'],
  ['date', "'5874897-12-31'", '"+5874897-12-31"'],
  ['date', "'10000-01-01'", '"+010000-01-01"'],
  ['date', "'infinity'", '"infinity"'],
  ['time', "'24:00:00'", '"24:00:00"'],
  ['interval', "'-1 year -2 mons +3 days -04:05:06.789'", '"P-1Y-2M3DT-4H-5M-6.789S"'],
  ['interval', "'0'", '"PT0S"'],
  ['"char"', "'a'", '"a"'],
  ['"char"', "''", '""'],
  ['"char"', '(-1)::int2::int4::"char"', '"\\\\377"'],
  ['oid', "'4294967295'", '"4294967295"'],
  ['regclass', "'s.own'", '"s.own"'],
  ['regclass', "'pg_catalog.pg_class'", '"pg_class"'],
  ['regtype', "'s.mood'", '"s.mood"'],
  ['regprocedure', "'s.helper(integer)'", '"s.helper(integer)"'],
  ['regrole', "'pg_monitor'", '"pg_monitor"'],
  ['inet', "'192.168.0.1/24'", '"192.168.0.1/24"'],
  ['cidr', "'::1/128'", '"::1/128"'],
  ['macaddr', "'08:00:2b:01:02:03'", '"08:00:2b:01:02:03"'],
  ['macaddr8', "'08:00:2b:01:02:03:04:05'", '"08:00:2b:01:02:03:04:05"'],
  ['bit(4)', "'1010'", '"1010"'],
  ['varbit', "'10101'", '"10101"'],
  ['money', '12345.67::numeric::money', '"$12,345.67"'],
  ['point', "'(0.1,1e23)'", '"(0.1,9.999999999999999e+22)"'],
  ['box', "'(1.1,2.2),(3.3,4.4)'", '"(3.3,4.4),(1.1,2.2)"'],
  ['path', "'[(0.1,0.2),(0.3,0.4)]'", '"[(0.1,0.2),(0.3,0.4)]"'],
  ['polygon', "'((0.1,0.2),(0.3,0.4))'", '"((0.1,0.2),(0.3,0.4))"'],
  ['circle', "'<(0.1,0.2),0.3>'", '"<(0.1,0.2),0.3>"'],
  ['line', "'{0.1,0.2,0.3}'", '"{0.1,0.2,0.3}"'],
  ['lseg', "'[(0.1,0.2),(0.3,0.4)]'", '"[(0.1,0.2),(0.3,0.4)]"'],
  ['tsvector', "'a:1A fat:2 \"q\"'", '"\'\\"q\\"\' \'a\':1A \'fat\':2"'],
  ['tsquery', "'fat & (rat | !cat)'", '"\'fat\' & ( \'rat\' | !\'cat\' )"'],
  ['pg_lsn', "'16/B374D848'", '"16/B374D848"'],
  ['xid8', "'18446744073709551615'", '"18446744073709551615"'],
  ['tid', "'(1,2)'", '"(1,2)"'],
  ['jsonpath', "'$.a[*] ? (@ > 1.5)'", '"$.\\"a\\"[*]?(@ > 1.5)"'],
  ['pg_snapshot', "'1:3:2'", '"1:3:2"'],
  ['int4range', "'[1,10]'", '"[1,11)"'],
  ['numrange', "'(1.10,2.00]'", '"(1.10,2.00]"'],
  ['daterange', "'[2025-01-01,2025-02-01]'", '"[2025-01-01,2025-02-02)"'],
  ['daterange', "'empty'", '"empty"'],
  ['tsrange', "'(,2025-01-01 10:00:00]'", '"(,2025-01-01T10:00:00]"'],
  ['tstzrange', "'[2025-01-01 10:00:00+02,)'", '"[2025-01-01T08:00:00Z,)"'],
  ['tstzrange', "'[-infinity,2025-01-01 00:00:00.5Z)'", '"[-infinity,2025-01-01T00:00:00.5Z)"'],
  ['s.hours', "'[10:00:00,11:30:00)'", '"[PT10H,PT11H30M)"'],
  ['s.spans', "'[2025-01-01 10:00:00+02,2025-01-01 12:00:00+02)'", '"[2025-01-01T08:00:00Z,2025-01-01T10:00:00Z)"'],
  ['s.mood', "'so \"so\"'", '"so \\"so\\""'],
  ['s.positive', "'7'", '7'],
  ['s.stamp', "'2025-01-01 10:00:00+02'", '"2025-01-01T08:00:00Z"'],
  ['s.pairs', "ARRAY[ROW(1,'a'),NULL]::s.pair[]", '[{"x":1,"10":"a"},null]', true],
  ['s.pair', "ROW(1,'\"')", '{"10":"\\"","x":1}'],
  ['s.nest', "ROW(ROW(1,NULL),ARRAY['2025-01-01 10:00:00Z'::timestamptz],'\\xff','1 day','so \"so\"')",
    '{"2":"P1D","p":{"10":null,"x":1},"a":["2025-01-01T10:00:00Z"],"b":"\\\\xff","m":"so \\"so\\""}'],
  ['s.shown', "'b'", '{"shown":"b","1":[2,3],"at":"2025-01-01 00:00:00+00"}', true],
  ['s.drawn', "ROW(3,4)", '{"at":[3,4]}'],
  ['hstore', "'b=>NULL, a=>\"1\"'", '{"a":"1","b":null}'],
  ['citext', "'Ab\"c'", '"Ab\\"c"'],
  ['integer[]', "'{}'", '[]'],
  ['integer[]', "'[5:6][2:4]={{1,2,3},{4,5,NULL}}'", '[[1,2,3],[4,5,null]]'],
  ['text[]', "'{{{a},{b}},{{c},{d}}}'", '[[["a"],["b"]],[["c"],["d"]]]'],
  ['jsonb[]', "ARRAY['{\"b\":1,\"1\":2}']::jsonb[]", '[{"1":2,"b":1}]'],
  ['int2vector', "'1 2 3'", '[1,2,3]'],
];

// The same where a server is new enough, or built for it: the test says so.
const OPTIONAL = {
  multirange: [
    ['int4multirange', "'{[1,3),[5,7)}'", '"{[1,3),[5,7)}"'],
    ['tstzmultirange', "'{[2025-01-01 10:00+02,2025-01-01 11:00+02),[2025-01-02Z,)}'",
      '"{[2025-01-01T08:00:00Z,2025-01-01T09:00:00Z),[2025-01-02T00:00:00Z,)}"'],
    ['numeric', "'-Infinity'", '"-Infinity"'],
  ],
  xml: [['xml', "'<a b=\"é\">x</a>'", '"<a b=\\"é\\">x</a>"']],
};

// What integer-like keys and order make of an expectation that is written plainly.
function expected(entry) {
  return entry[3] ? canonical(entry[2], false) : entry[2];
}

// Every table of the test: {name, type, rows: [[SQL, JSON]]}.
function tables(seed, options) {
  const m = new Maker(seed);
  const all = new Map();
  const table = (type) => {
    if (!all.has(type)) all.set(type, { name: `case_${all.size + 1}`, type, rows: [] });
    return all.get(type);
  };
  for (const [type, make] of Object.entries(TYPES))
    for (let i = 0; i < 25; i++) table(type).rows.push(make(m));
  const fixed = FIXED.concat(...options.map((option) => OPTIONAL[option]));
  for (const entry of fixed) table(entry[0]).rows.push([entry[1], expected(entry)]);
  return [...all.values()];
}

function arrayed(type) {
  return /\[\]|vector$|^s\.pairs$/.test(type) ? null : `${type}[]`;
}

function sql(seed, options) {
  const out = [];
  const list = tables(seed, options);
  for (const t of list) {
    const array = arrayed(t.type);
    out.push(`CREATE TABLE ${t.name} (id integer PRIMARY KEY, v ${t.type}${array ? `, a ${array}` : ''});`);
  }
  const events = JSON.stringify(list.map((t) => ({ table: t.name })));
  out.push(`SELECT fluxhooks.create_webhook('cases', 'https://example.com/', '${events}');`);
  for (const t of list)
    t.rows.forEach(([value], id) => {
      const array = arrayed(t.type);
      const cast = `(${value})::${t.type}`;
      out.push(`INSERT INTO ${t.name} VALUES (${id}, ${cast}${array ? `, ARRAY[${cast}, NULL]` : ''});`);
    });
  return out.join('\n');
}

let failures = 0;

function fail(what, detail) {
  if (failures++ < 20) console.log(`not ok: ${what}\n${detail}`);
}

function equal(what, got, want) {
  if (got !== want) fail(what, `  got  ${got.slice(0, 2000)}\n  want ${want.slice(0, 2000)}`);
}

// Number tokens outside of strings that a double does not carry.
function uncarried(text) {
  return text.replace(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g)?.some(
    (token) => JSON.stringify(Number(token)) !== token) ?? false;
}

// What holds for every body; returns it parsed.
function inspect(hex) {
  const bytes = Buffer.from(hex, 'hex');
  const text = bytes.toString('utf8');
  if (Buffer.compare(Buffer.from(text), bytes) !== 0) fail('body is UTF-8', hex);
  const body = JSON.parse(text);
  const keys = body.truncated ? [...KEYS, 'truncated'] : KEYS;
  equal('keys', Object.keys(body).join(), keys.join());
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(body.timestamp)) fail('timestamp', body.timestamp);
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(body.webhook_id)) fail('webhook_id', body.webhook_id);
  if (!uncarried(text)) equal('stable under JavaScript', JSON.stringify(body), text);
  return { text, body };
}

function read() {
  return require('fs').readFileSync(0, 'utf8').split('\n').filter((line) => line !== '');
}

// Bodies of INSERT, UPDATE and DELETE of every row, in whatever order.
function check(seed, options) {
  const list = tables(seed, options);
  const byName = new Map(list.map((t) => [t.name, t]));
  const seen = new Map();
  for (const line of read()) {
    const { text, body } = inspect(line);
    const t = byName.get(body.table);
    const id = (body.record ?? body.old_record).id;
    const want = t.rows[id][1];
    const record = `{"id":${id},"v":${want}${arrayed(t.type) ? `,"a":[${want},null]` : ''}}`;
    const old = body.event === 'INSERT' ? 'null' : record;
    equal(`${body.event} of ${t.type} ${t.rows[id][0]}`, text,
      `{"event":"${body.event}","table":"${t.name}","schema":"public","record":${record},"old_record":${old},` +
      `"timestamp":"${body.timestamp}","webhook_id":"${body.webhook_id}"}`);
    const key = `${t.name} ${id} ${body.event}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  const rows = list.reduce((sum, t) => sum + t.rows.length, 0);
  if (seen.size !== rows * 3) fail('every change has a body', `${seen.size} of ${rows * 3}`);
  return seen.size;
}

// Rows that are too large: columns of random size, before and after.
const FIT_COLUMNS = ['1', 'b', 'c', 'd\u00e9"', 'e', 'f'];

function fitRows(seed) {
  const m = new Maker(seed);
  const value = (most) => {
    if (m.below(6) === 0) return null;
    return m.pick(['x', '"', 'é', '\u0001', '漢']).repeat(m.below(m.pick([5, 100, most])));
  };
  return Array.from({ length: 60 }, () => {
    const most = m.pick([5, 200, 1000, 4000, 100000]);
    return { before: FIT_COLUMNS.map(() => value(most)), after: FIT_COLUMNS.map(() => value(most)) };
  });
}

function fitSql(seed) {
  const quote = (name) => `"${name.replace(/"/g, '""')}"`;
  const literal = (value) => (value === null ? 'NULL' : utf8(value));
  const out = [`CREATE TABLE fit (id integer PRIMARY KEY, ${FIT_COLUMNS.map((c) => `${quote(c)} text`).join(', ')});`,
    "SELECT fluxhooks.create_webhook('fit', 'https://example.com/', '[{\"table\":\"fit\"}]');"];
  fitRows(seed).forEach((row, id) => {
    out.push(`INSERT INTO fit VALUES (${id}, ${row.before.map(literal).join(', ')});`);
    out.push(`UPDATE fit SET ${FIT_COLUMNS.map((c, i) => `${quote(c)} = ${literal(row.after[i])}`).join(', ')} WHERE id = ${id};`);
  });
  out.push('DELETE FROM fit;');
  return out.join('\n');
}

// Leave out the largest columns until the body fits, on finished images.
function fitted(body, images, size) {
  const kept = new Set(FIT_COLUMNS);
  const record = (values) => values && Object.fromEntries(
    [['id', images.id], ...FIT_COLUMNS.map((c, i) => [c, values[i]])].filter(([c]) => c === 'id' || kept.has(c)));
  const weight = (c) => [images.record, images.old].filter(Boolean).reduce(
    (sum, values) => sum + Buffer.byteLength(JSON.stringify(values[FIT_COLUMNS.indexOf(c)])), 0);
  for (;;) {
    const truncated = FIT_COLUMNS.filter((c) => !kept.has(c));
    const text = JSON.stringify({
      event: body.event, table: 'fit', schema: 'public', record: record(images.record), old_record: record(images.old) ?? null,
      timestamp: body.timestamp, webhook_id: body.webhook_id, ...(truncated.length ? { truncated } : {}),
    });
    if (Buffer.byteLength(text) <= size || kept.size === 0) return text;
    kept.delete([...kept].sort((a, b) => weight(b) - weight(a))[0]);
  }
}

function fit(seed, size) {
  const rows = fitRows(seed);
  const lines = read();
  let left = 0;
  for (const line of lines) {
    const { text, body } = inspect(line);
    const id = body.record.id;
    const { before, after } = rows[id];
    const images = { id, record: body.event === 'INSERT' ? before : after,
      old: { INSERT: null, UPDATE: before, DELETE: after }[body.event] };
    if (line.length / 2 > size) fail(`${body.event} ${id} fits`, `${line.length / 2} bytes`);
    left += body.truncated ? 1 : 0;
    equal(`${body.event} ${id}`, text, fitted(body, images, size));
  }
  if (lines.length !== rows.length * 3) fail('every change has a body', `${lines.length}`);
  if (left < 20 || left > lines.length - 20) fail('some bodies are cut and some are not', `${left}`);
  return lines.length;
}

// Single bodies with the text that their record must have.
function lines() {
  const all = read();
  for (const line of all) {
    const [hex, want, truncated] = line.split('\t');
    const { text, body } = inspect(hex);
    const at = text.indexOf(',"record":') + ',"record":'.length;
    equal('record', text.slice(at, at + want.length), want);
    if (text[at + want.length] !== ',') fail('record ends', text.slice(0, 2000));
    equal('truncated', JSON.stringify(body.truncated ?? []), truncated ?? '[]');
  }
  return all.length;
}

const [mode, seed, ...options] = process.argv.slice(2);
const modes = {
  sql: () => console.log(sql(Number(seed), options)),
  'fit-sql': () => console.log(fitSql(Number(seed))),
  check: () => check(Number(seed), options),
  fit: () => fit(Number(seed), Number(options[0])),
  lines,
};
const count = modes[mode]();
if (count !== undefined) {
  console.log(`${failures ? 'not ok' : 'ok'} ${count}`);
  process.exit(failures ? 1 : 0);
}
