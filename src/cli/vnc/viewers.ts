/** VNC viewers that people have, best first, and how each is told where to connect. */
const viewers: readonly {
  readonly program: string;
  readonly args: (address: string, port: number) => readonly string[];
}[] = [
  { program: "remote-viewer", args: (address, port) => [`vnc://${address}:${port}`] },
  { program: "xtigervncviewer", args: (address, port) => [`${address}::${port}`] },
  { program: "vncviewer", args: (address, port) => [`${address}::${port}`] },
  { program: "gvncviewer", args: (address, port) => [`${address}::${port}`] },
  { program: "vinagre", args: (address, port) => [`vnc://${address}:${port}`] },
  { program: "krdc", args: (address, port) => [`vnc://${address}:${port}`] },
];

export const viewerPrograms = viewers.map(({ program }) => program);

/** Arguments for a viewer by its path; one that is not known gets ADDRESS::PORT, which most understand. */
export const viewerArguments = (path: string, address: string, port: number): readonly string[] => {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const known = viewers.find(({ program }) => program === name);
  return known?.args(address, port) ?? [`${address}::${port}`];
};
