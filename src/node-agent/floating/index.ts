import type { RunCommand } from "../host/command.ts";
import { createInTurn, type InTurn } from "../host/in-turn.ts";
import { createIptables } from "../host/iptables/index.ts";
import { type Announcer, createAnnouncer } from "./announcer.ts";
import { createFloatingDriver, type FloatingDriver } from "./driver.ts";
import { addressOfChain, CHAIN_OWNER } from "./owner.ts";
import { ForeignAddressError, heldAddresses, nodeAddressFor, place, type PlaceOptions } from "./plan.ts";
import { floatingRules } from "./rules.ts";
import type { FloatingAddress, FloatingLogger, Placement } from "./types.ts";

export { ForeignAddressError } from "./plan.ts";
export type { FloatingAddress } from "./types.ts";

export interface FloatingCallOptions {
  readonly signal: AbortSignal;
}

export interface TranslateOptions extends FloatingCallOptions {
  /** Looks for rules that somebody else changed. Default: only in the first call and after a failure. */
  readonly verify?: boolean;
}

export interface HoldOptions extends FloatingCallOptions {
  /** Whole seconds from now; then the kernel takes the addresses away, whether anybody is there or not. */
  readonly validForSeconds: number;
}

/**
 * Floating addresses on this node: their translation to guests, and the
 * addresses themselves on the device to the outside. It knows nothing of who
 * may hold an address; whoever calls `hold` must. All verbs may be repeated.
 * They reject with CommandError when the host refuses.
 */
export interface Floating {
  /**
   * Makes the rules translate exactly these. Harmless while an address is not
   * held: nothing of it passes. Cuts the connections of addresses that lead to
   * another guest than before, or nowhere. To be called before an address is
   * held, and without it only after it was withdrawn: rejects when it is held,
   * since the node itself would answer on it.
   */
  translate(addresses: readonly FloatingAddress[], options: TranslateOptions): Promise<void>;
  /**
   * Puts the addresses on the device to the outside, or lets them stay there,
   * and lets their packets pass. Those that were not there are announced, in the background.
   * Rejects with ForeignAddressError when somebody else put one on this node; the others are held then.
   */
  hold(addresses: readonly string[], options: HoldOptions): Promise<void>;
  /** Takes the addresses away at once; one that is not there is no failure. Nothing is announced any more. */
  withdraw(addresses: readonly string[], options: FloatingCallOptions): Promise<void>;
  /** The addresses of ours on this node, whoever put them there. */
  held(options: FloatingCallOptions): Promise<readonly string[]>;
  /** Removes everything of ours. */
  tearDown(options: FloatingCallOptions): Promise<void>;
}

export interface FloatingOptions extends PlaceOptions {
  readonly run: RunCommand;
  readonly logger: FloatingLogger;
  /** Shared with the filters, which hook into the same chains. */
  readonly iptablesInTurn?: InTurn | undefined;
}

interface Parts extends PlaceOptions {
  readonly driver: FloatingDriver;
  readonly iptables: ReturnType<typeof createIptables>;
  readonly announcer: Announcer;
}

/** An address that has run out meanwhile is no longer ours to announce: that it cannot be is no failure. */
const announceHeld = async (
  driver: FloatingDriver,
  placement: Placement,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await driver.announce(placement, signal);
  } catch (error) {
    const held = heldAddresses(await driver.observe(signal));
    if (held.some(({ address }) => address === placement.address)) throw error;
  }
};

const translate = async (
  { driver, iptables, ...options }: Parts,
  addresses: readonly FloatingAddress[],
  { signal, verify = false }: TranslateOptions,
): Promise<void> => {
  const wanted = addresses.map(({ address }) => address);
  const observed = await driver.observe(signal);
  const surplus = (await driver.switches(signal)).filter((address) => !wanted.includes(address));
  const stillHeld = heldAddresses(observed).find(({ address }) => !wanted.includes(address));
  if (stillHeld !== undefined) {
    throw new Error(`${stillHeld.address} is still held: withdraw it before its translation is removed`);
  }
  await driver.makeSwitches(wanted, signal);
  await driver.switchOff(surplus, signal);
  for (const address of surplus) await driver.forgetConnections(address, signal);
  const nodeAddress = wanted.length === 0 ? "" : nodeAddressFor(wanted, observed, options);
  if (nodeAddress === undefined) throw new Error("this node has no IPv4 address on a device to the outside");
  const { changed } = await iptables.sync(floatingRules(addresses, nodeAddress), { signal, verify });
  for (const { chain } of changed) {
    const address = addressOfChain(chain);
    if (address !== undefined && wanted.includes(address)) await driver.forgetConnections(address, signal);
  }
  await driver.removeSwitches(surplus, signal);
};

const hold = async (
  { driver, announcer, ...options }: Parts,
  addresses: readonly string[],
  { validForSeconds, signal }: HoldOptions,
): Promise<void> => {
  if (!Number.isInteger(validForSeconds) || validForSeconds < 1) {
    throw new RangeError(`an address cannot be held for ${validForSeconds} s: whole seconds, at least 1`);
  }
  if (addresses.length === 0) return;
  const { placements, foreign } = place(addresses, await driver.observe(signal), options);
  const own = placements.map(({ address }) => address);
  await driver.switchOn(own, validForSeconds, signal);
  await driver.hold(placements, validForSeconds, signal);
  for (const placement of placements) if (placement.isNew) announcer.begin(placement);
  const [stranger] = foreign;
  if (stranger !== undefined) throw new ForeignAddressError(stranger);
};

const withdraw = async (
  { driver, announcer }: Parts,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<void> => {
  const present = async () => {
    const held = heldAddresses(await driver.observe(signal));
    return held.filter(({ address }) => addresses.includes(address));
  };
  const takeAway = async (): Promise<void> => {
    const found = await present();
    await driver.remove(found, signal).catch(async (error: unknown) => {
      // The kernel may have been faster.
      const left = await present();
      if (left.length === found.length) throw error;
      await driver.remove(left, signal);
    });
  };
  // The address goes in any case, also when its switch cannot be reached.
  const silent = Promise.all(addresses.map((address) => announcer.end(address)));
  const off = await driver.switchOff(addresses, signal).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  await takeAway();
  await silent;
  if (off !== undefined) throw off.error;
};

export const createFloating = (options: FloatingOptions): Floating => {
  const { run, logger, device, iptablesInTurn: inTurn } = options;
  const driver = createFloatingDriver(run);
  const parts: Parts = {
    device,
    driver,
    iptables: createIptables({ run, program: "iptables", owner: CHAIN_OWNER, ...(inTurn && { inTurn }) }),
    announcer: createAnnouncer((placement, signal) => announceHeld(driver, placement, signal), logger),
  };
  // Two turns: holding cannot wait for rules, whose lock others may have for long.
  const rulesInTurn = createInTurn();
  const addressesInTurn = createInTurn();
  const held = async (signal: AbortSignal): Promise<readonly string[]> => {
    const found = heldAddresses(await driver.observe(signal));
    return [...new Set(found.map(({ address }) => address))];
  };
  return {
    translate: (addresses, settings) => rulesInTurn(() => translate(parts, addresses, settings)),
    hold: (addresses, settings) => addressesInTurn(() => hold(parts, addresses, settings)),
    withdraw: (addresses, { signal }) => addressesInTurn(() => withdraw(parts, addresses, signal)),
    held: ({ signal }) => addressesInTurn(() => held(signal)),
    tearDown: async ({ signal }) => {
      const found = await held(signal);
      await addressesInTurn(() => withdraw(parts, found, signal));
      await rulesInTurn(() => translate(parts, [], { signal, verify: true }));
    },
  };
};
