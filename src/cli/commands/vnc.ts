import type { Duplex } from "node:stream";
import { whenAborted } from "../../kube/index.ts";
import { machineArgument, type Command, type Invocation } from "../command.ts";
import { CommandFailedError, UsageError } from "../errors.ts";
import { explain } from "../explain.ts";
import { joinConnection } from "../join.ts";
import { listen, type Listener } from "../listen.ts";
import { machineName, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import type { Session } from "../session.ts";
import { startPageServer } from "../vnc/page-server.ts";
import { viewerArguments, viewerPrograms } from "../vnc/viewers.ts";

const LOOPBACK = "127.0.0.1";
/** A screen has nothing to say after its viewer has left. */
const LINGER_MS = 0;

export const vnc: Command = {
  name: "vnc",
  summary: "Shows a guest's screen",
  description: [
    `Opens a VNC viewer if one is installed (${viewerPrograms.slice(0, 3).join(", ")}, …), and otherwise serves noVNC, which is part of this program, for your browser on loopback under an address that only you are told.`,
    "What a viewer or --proxy-only connects to is a port on loopback without a password: other users of this computer can reach it while the command runs.",
  ],
  arguments: [machineArgument],
  flags: [
    {
      name: "proxy-only",
      kind: "switch",
      description: "open nothing: print the address for a VNC viewer of yours",
    },
    { name: "browser", kind: "switch", description: "noVNC, also where a viewer is installed" },
    {
      name: "viewer",
      kind: "text",
      placeholder: "PROGRAM",
      description: "this VNC viewer; it is given ADDRESS::PORT",
    },
    {
      name: "open",
      kind: "switch",
      on: true,
      description: "open the browser, and do not just print the address",
    },
    { name: "port", kind: "text", placeholder: "PORT", description: "local port; default: any that is free" },
    { name: "view-only", kind: "switch", description: "keys and mouse stay here; in the browser only" },
  ],
  examples: [
    { comment: "look at it", command: "kubectl vireo vnc web" },
    { comment: "for a viewer of your own", command: "kubectl vireo vnc web --proxy-only --port 5901" },
  ],
  runsUntilInterrupted: true,
  run: async (invocation, session) => {
    const chosen = ["proxy-only", "browser"].filter((flag) => invocation.isOn(flag)).length;
    const wantedViewer = invocation.text("viewer");
    if (chosen + (wantedViewer === undefined ? 0 : 1) > 1)
      throw new UsageError("at most one of --proxy-only, --browser and --viewer may be given");
    const { object } = await requireMachine(session, readMachineName(invocation.word("VM")));
    if (!object.spec.graphics.includes("VNC"))
      throw new CommandFailedError(
        `${machineName(object)} has no VNC: spec.graphics is [${object.spec.graphics.join(", ")}]; add VNC to it, and restart the machine`,
      );
    const show = { session, machine: object.metadata.name, port: readLocalPort(invocation), invocation };
    if (invocation.isOn("proxy-only")) await proxyOnly(show);
    else {
      const viewer = invocation.isOn("browser") ? undefined : await findViewer(session, wantedViewer);
      await (viewer === undefined ? inBrowser(show) : inViewer(show, viewer));
    }
    return undefined;
  },
};

interface Show {
  readonly session: Session;
  readonly invocation: Invocation;
  readonly machine: string;
  readonly port: number;
}

const readLocalPort = (invocation: Invocation): number => {
  const text = invocation.text("port") ?? "0";
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port <= 65_535) return port;
  throw new UsageError(`--port: ${JSON.stringify(text)} is not a port`);
};

const findViewer = async (session: Session, wanted: string | undefined): Promise<string | undefined> => {
  const { programs } = session.host;
  if (wanted === undefined) return hasScreen(session) ? programs.find(viewerPrograms) : undefined;
  const found = await programs.find([wanted]);
  if (found === undefined)
    throw new CommandFailedError(
      `there is no program ${wanted}; leave --viewer out to see the screen in a browser`,
    );
  return found;
};

/** Whether windows can be opened here. */
const hasScreen = ({ host: { environment, platform } }: Session): boolean =>
  platform === "darwin" ||
  [environment["DISPLAY"], environment["WAYLAND_DISPLAY"]].some((display) => (display ?? "") !== "");

/** Connects a viewer with the guest; what goes wrong is said, and the viewer sees its connection end. */
const serveScreen = async ({ session, machine }: Show, viewer: Duplex): Promise<void> => {
  const { signal, clock, say } = session;
  try {
    const cluster = await session.cluster();
    const { stream } = await cluster.connect(machine, "vnc", { signal });
    await joinConnection(viewer, stream, { clock, lingerMs: LINGER_MS });
  } catch (error) {
    if (!signal.aborted) say.progress(explain(error));
  }
};

const listenForViewer = (show: Show): Promise<Listener> =>
  listen({ address: LOOPBACK, port: show.port, serve: (socket) => serveScreen(show, socket) });

const proxyOnly = async (show: Show): Promise<void> => {
  const listener = await listenForViewer(show);
  try {
    show.session.host.stdout.write(`${listener.address}:${listener.port}\n`);
    show.session.say.progress("a VNC viewer may connect to this address now; Ctrl-C ends");
    await whenAborted(show.session.signal);
  } finally {
    await listener.close();
  }
};

const inViewer = async (show: Show, viewer: string): Promise<void> => {
  const { session, machine } = show;
  const listener = await listenForViewer(show);
  try {
    session.say.progress(`${viewer} shows ${machine}; this ends with it`);
    const args = viewerArguments(viewer, listener.address, listener.port);
    const exitCode = await session.host.programs.run(viewer, args, { signal: session.signal });
    if (exitCode !== 0 && !session.signal.aborted)
      throw new CommandFailedError(
        `${viewer} ended with exit code ${exitCode}; --browser shows the screen without it`,
      );
  } finally {
    await listener.close();
  }
};

const inBrowser = async (show: Show): Promise<void> => {
  const { session, machine, invocation } = show;
  const { namespace } = await session.cluster();
  if (session.viewerScript === undefined)
    throw new CommandFailedError(
      'this program was started from its source, without noVNC: "npm run build" makes the one with it',
    );
  const server = await startPageServer({
    namespace,
    machine,
    viewOnly: invocation.isOn("view-only"),
    script: session.viewerScript,
    port: show.port,
    serve: (browser) => serveScreen(show, browser),
  });
  try {
    session.host.stdout.write(`${server.url}\n`);
    session.say.progress("this page shows the screen as long as this program runs; Ctrl-C ends");
    if (invocation.isOn("open")) await openBrowser(session, server.url);
    await whenAborted(session.signal);
  } finally {
    await server.close();
  }
};

const openBrowser = async (session: Session, url: string): Promise<void> => {
  if (!hasScreen(session)) return;
  const { programs, platform } = session.host;
  const opener = await programs.find([platform === "darwin" ? "open" : "xdg-open"]);
  if (opener !== undefined) programs.start(opener, [url]);
};
