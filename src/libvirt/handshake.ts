import type { Channel } from "./channel.ts";
import type { KeepaliveOptions } from "./keepalive.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions } from "./types.ts";

/** remote_auth_type */
const AuthType = { NONE: 0, SASL: 1, POLKIT: 2 } as const;
/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE */
const FEATURE_KEEPALIVE = 10;

export interface HandshakeOptions extends CallOptions {
  readonly uri: string;
  readonly flags: number;
  readonly keepalive: KeepaliveOptions;
}

/**
 * What the daemon asks of a client before it serves it, in this order:
 * authentication (mandatory to ask about, even when none is needed), keepalive
 * (before open, so that a daemon that hangs in open is noticed), open.
 */
export const handshake = async (channel: Channel, options: HandshakeOptions): Promise<void> => {
  await authenticate(channel, options);
  const keepalive = { feature: FEATURE_KEEPALIVE };
  const { supported } = await channel.call(procedures.connectSupportsFeature, keepalive, options);
  if (supported === 1) channel.startKeepalive(options.keepalive);
  await channel.call(procedures.connectOpen, { name: options.uri, flags: options.flags }, options);
};

const authenticate = async (channel: Channel, options: CallOptions): Promise<void> => {
  const { types } = await channel.call(procedures.authList, undefined, options);
  const chosen = types.find((type) => type === AuthType.NONE || type === AuthType.POLKIT);
  if (chosen === AuthType.POLKIT) await channel.call(procedures.authPolkit, undefined, options);
  else if (chosen === undefined && types.length > 0) {
    throw new Error(
      `libvirtd offers no authentication that this client knows (none, polkit), only ${types.join(", ")}`,
    );
  }
};
