import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below the range from which the kernel takes the local ports of outgoing
 * connections (32768 and up): a server that is killed and restarted in a test
 * must find its port free again.
 */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const ATTEMPTS = 100;

const isFree = (port: number, address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: address, exclusive: true }, () => server.close(() => resolve(true)));
  });

/** A random TCP port that nobody listens on now. */
export const findFreePort = async (address: string): Promise<number> => {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (await isFree(port, address)) return port;
  }
  throw new Error(`found no free TCP port on ${address} in ${ATTEMPTS} attempts`);
};
