/**
 * Runs a listener. What it throws is its owner's bug and must not end up in
 * the middle of the connection's work: it surfaces as an uncaught exception,
 * as it does for a listener of Node's EventTarget.
 */
export const reportThrown = (listener: () => void): void => {
  try {
    listener();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
};

/** Listeners of one kind of news. */
export class Listeners<E> {
  readonly #listeners = new Map<symbol, (event: E) => void>();

  /** Adds a listener and returns the way to remove it. */
  add(listener: (event: E) => void): () => void {
    const key = Symbol("listener");
    this.#listeners.set(key, listener);
    return () => void this.#listeners.delete(key);
  }

  tell(event: E): void {
    for (const listener of this.#listeners.values()) reportThrown(() => listener(event));
  }
}
