import { describe, expect, it } from 'vitest';
import { parseVerifier, ScramExchange, scramVerifier } from './scram.js';

describe('SCRAM-SHA-256', () => {
  // RFC 7677, section 3.
  const clientFirst = 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO';
  const serverNonce = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const clientFinal =
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=';

  async function exchange(): Promise<ScramExchange> {
    const verifier = await scramVerifier('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'), 4096);
    return new ScramExchange(parseVerifier(verifier)!, clientFirst, serverNonce);
  }

  it('gives the answers of the RFC', async () => {
    const made = await exchange();
    expect(made.serverFirst).toBe('r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096');
    expect(made.finish(clientFinal)).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  });

  it('refuses a wrong proof, nonce or header', async () => {
    const made = await exchange();
    expect(made.finish(clientFinal.replace('p=dH', 'p=eH'))).toBeUndefined();
    expect(() => made.finish(clientFinal.replace('k0,p', 'k1,p'))).toThrow('nonce');
    expect(() => made.finish(clientFinal.replace('c=biws', 'c=eSws'))).toThrow('channel-binding');
    expect(() => made.finish('p=1')).toThrow('malformed');
    const verifier = parseVerifier(await scramVerifier('x'))!;
    expect(() => new ScramExchange(verifier, 'p=tls-unique,,n=u,r=abc')).toThrow('channel binding');
    expect(() => new ScramExchange(verifier, 'rubbish')).toThrow('malformed');
    expect(parseVerifier('md5abc')).toBeUndefined();
  });
});
