/** SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding; verifiers in PostgreSQL's form. */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { SqlError } from '../../core/errors.js';
import type { WireConnection } from './connection.js';
import { authenticationSasl, authenticationSaslContinue, authenticationSaslFinal } from './messages.js';
import { protocolViolation } from './parser.js';

const MECHANISM = 'SCRAM-SHA-256';
const KEY_BYTES = 32;
/** PostgreSQL's scram_iterations. */
const DEFAULT_ITERATIONS = 4096;
const NONCE_BYTES = 18;

const derive = promisify(pbkdf2);

export interface ScramVerifier {
  iterations: number;
  salt: Buffer;
  storedKey: Buffer;
  serverKey: Buffer;
}

function hmac(key: Buffer, text: string | Buffer): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** SASLprep of RFC 4013 as far as it changes bytes: blanks, characters that map to nothing, NFKC. */
function saslPrep(password: string): string {
  const mapped = password
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu, ' ')
    .replace(/\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200b-\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/gu, '');
  return mapped.normalize('NFKC');
}

/** Verifier text of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in Base64. */
export async function scramVerifier(password: string, salt = randomBytes(16), iterations = DEFAULT_ITERATIONS): Promise<string> {
  const salted = await derive(saslPrep(password), salt, iterations, KEY_BYTES, 'sha256');
  const storedKey = sha256(hmac(salted, 'Client Key'));
  const serverKey = hmac(salted, 'Server Key');
  return `${MECHANISM}$${iterations}:${salt.toString('base64')}$${storedKey.toString('base64')}:${serverKey.toString('base64')}`;
}

const VERIFIER = /^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/;

/** undefined: not a verifier. */
export function parseVerifier(text: string): ScramVerifier | undefined {
  const match = VERIFIER.exec(text);
  if (match === null) return undefined;
  const decode = (base64: string) => Buffer.from(base64, 'base64');
  const verifier = {
    iterations: Number(match[1]),
    salt: decode(match[2]!),
    storedKey: decode(match[3]!),
    serverKey: decode(match[4]!),
  };
  if (verifier.storedKey.length !== KEY_BYTES || verifier.serverKey.length !== KEY_BYTES || verifier.iterations < 1)
    return undefined;
  return verifier;
}

/** What a role without verifier is answered with: it looks like any other, always the same for one name, and no password fits. */
function mockVerifier(user: string, serverSecret: Buffer): ScramVerifier {
  return {
    iterations: DEFAULT_ITERATIONS,
    salt: hmac(serverSecret, user).subarray(0, 16),
    storedKey: randomBytes(KEY_BYTES),
    serverKey: randomBytes(KEY_BYTES),
  };
}

/** The exchange after the client's first message: pure, so that it can be checked with fixed nonces. */
export class ScramExchange {
  readonly serverFirst: string;
  private readonly clientFirstBare: string;
  private readonly gs2Header: string;
  private readonly nonce: string;

  /** @throws SqlError 08P01 where the message is malformed or asks for channel binding. */
  constructor(
    private readonly verifier: ScramVerifier,
    clientFirst: string,
    serverNonce = randomBytes(NONCE_BYTES).toString('base64'),
  ) {
    const match = /^([nyp])(?:=[^,]*)?,([^,]*),((?:m=[^,]*,)?n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/.exec(clientFirst);
    if (match === null) throw protocolViolation('malformed SCRAM message');
    if (match[1] === 'p') throw protocolViolation('client requires SCRAM channel binding, but it is not supported');
    if (match[2] !== '')
      throw new SqlError('0A000', 'client uses authorization identity, but it is not supported', { fatal: true });
    if (match[3]!.startsWith('m='))
      throw new SqlError('0A000', 'client requires an unsupported SCRAM extension', { fatal: true });
    this.gs2Header = `${match[1]},,`;
    this.clientFirstBare = match[3]!;
    this.nonce = match[4]! + serverNonce;
    this.serverFirst = `r=${this.nonce},s=${verifier.salt.toString('base64')},i=${verifier.iterations}`;
  }

  /** The server's last message where the proof is right; undefined where it is wrong. */
  finish(clientFinal: string): string | undefined {
    const match = /^c=([^,]*),r=([^,]*)(?:,.*)?,p=([A-Za-z0-9+/=]+)$/.exec(clientFinal);
    if (match === null) throw protocolViolation('malformed SCRAM message');
    if (match[1] !== Buffer.from(this.gs2Header).toString('base64'))
      throw protocolViolation('unexpected SCRAM channel-binding attribute');
    if (match[2] !== this.nonce) throw protocolViolation('invalid SCRAM response: nonce does not match');
    const withoutProof = clientFinal.slice(0, clientFinal.lastIndexOf(',p='));
    const signed = `${this.clientFirstBare},${this.serverFirst},${withoutProof}`;
    const proof = Buffer.from(match[3]!, 'base64');
    if (proof.length !== KEY_BYTES) throw protocolViolation('malformed SCRAM proof');
    const clientKey = hmac(this.verifier.storedKey, signed);
    for (let i = 0; i < KEY_BYTES; i++) clientKey[i]! ^= proof[i]!;
    if (!timingSafeEqual(sha256(clientKey), this.verifier.storedKey)) return undefined;
    return `v=${hmac(this.verifier.serverKey, signed).toString('base64')}`;
  }
}

/** Runs the exchange over the connection. Throws a fatal 28P01 where the password is wrong or there is none. */
export async function authenticateScram(
  user: string,
  stored: string | null,
  serverSecret: Buffer,
  connection: WireConnection,
): Promise<void> {
  const known = stored === null ? undefined : parseVerifier(stored);
  connection.write(authenticationSasl([MECHANISM]));
  await connection.flush();
  const exchange = new ScramExchange(
    known ?? mockVerifier(user, serverSecret),
    readInitialResponse(await connection.readPassword()),
  );
  connection.write(authenticationSaslContinue(exchange.serverFirst));
  await connection.flush();
  const last = exchange.finish((await connection.readPassword()).toString('utf8'));
  if (known === undefined || last === undefined) {
    throw new SqlError('28P01', `password authentication failed for user "${user}"`, { fatal: true });
  }
  connection.write(authenticationSaslFinal(last));
}

/** SASLInitialResponse: mechanism, length, the client's first message. */
function readInitialResponse(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  if (end < 0 || bytes.length < end + 5) throw protocolViolation('malformed SASL message');
  if (bytes.toString('latin1', 0, end) !== MECHANISM)
    throw protocolViolation('client selected an invalid SASL authentication mechanism');
  const length = bytes.readInt32BE(end + 1);
  if (length !== bytes.length - end - 5) throw protocolViolation('malformed SASL message');
  return bytes.toString('utf8', end + 5);
}
