/**
 * What is left to do when this process exits, by itself or by a signal that it could have survived.
 *
 * One listener of signal-exit, which is never removed: signal-exit takes its signal handlers away with the
 * last listener, and the dispositions that Node then sets would also replace those of the addon.
 */
import { onExit } from 'signal-exit';

const pending = new Set<() => void>();
let isListening = false;

/** @returns Forgets the action. */
export function atExit(action: () => void): () => void {
  if (!isListening) {
    isListening = true;
    onExit(() => {
      for (const one of [...pending]) one();
    });
  }
  pending.add(action);
  return () => void pending.delete(action);
}
