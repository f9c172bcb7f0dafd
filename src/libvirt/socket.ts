import { connect, type Socket } from "node:net";

/** Connects to a unix socket. Rejects with the system's error or the signal's reason. */
export const openSocket = (path: string, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect({ path });
    const settled = (): void => {
      signal.removeEventListener("abort", onAbort);
      socket.removeListener("connect", onConnect);
      socket.removeListener("error", onError);
    };
    const onConnect = (): void => {
      settled();
      resolve(socket);
    };
    const onError = (error: Error): void => {
      settled();
      reject(error);
    };
    const onAbort = (): void => {
      settled();
      socket.on("error", () => {});
      socket.destroy();
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", onConnect);
    socket.once("error", onError);
  });
