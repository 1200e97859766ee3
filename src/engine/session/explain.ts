import { notSupported } from '../../core/errors.js';
import type { Kind } from './classify.js';
import type { Answer, Session } from './session.js';
import type { Bound } from './statement.js';

export async function runExplain(_session: Session, _kind: Kind & { kind: 'explain' }, _bound: Bound, _answer: Answer): Promise<string> {
  throw notSupported('EXPLAIN');
}
