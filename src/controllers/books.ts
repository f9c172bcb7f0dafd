import type { Stores } from "./context.ts";
import { createLedger, type Ledger } from "./virtual-machine/ledger.ts";
import { createReservations, type Reservations } from "./virtual-machine/reservations.ts";
import { flightsOf } from "./virtual-machine-migration/flights.ts";
import { createPromises, type Promises } from "./virtual-machine-migration/promises.ts";

/** What has been given out, to be asked by all who give out something of the same nodes. */
export interface Books {
  /** Of machines that are placed, or become larger. */
  readonly reservations: Reservations;
  /** Of machines that move. */
  readonly promises: Promises;
  readonly ledger: Ledger;
}

/** Make it before the stores are run. */
export const createBooks = (stores: Stores): Books => {
  const reservations = createReservations();
  const promises = createPromises();
  const flights = () => flightsOf(stores.virtualMachineMigrations, promises).values();
  return { reservations, promises, ledger: createLedger(stores, reservations, flights) };
};
