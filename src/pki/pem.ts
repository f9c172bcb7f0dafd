/** Blocks of PEM (RFC 7468) of one label, as DER. Text around them is skipped, as everybody does. */
export const decodePem = (label: string, text: string): readonly Buffer[] => {
  const block = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g");
  return [...text.matchAll(block)].map(([, body = ""]) => Buffer.from(body, "base64"));
};

export const encodePem = (label: string, der: ArrayBuffer | Uint8Array): string => {
  const text = Buffer.from(der instanceof ArrayBuffer ? new Uint8Array(der) : der).toString("base64");
  return `-----BEGIN ${label}-----\n${(text.match(/.{1,64}/g) ?? []).join("\n")}\n-----END ${label}-----\n`;
};

/** The certificates of a bundle, each as PEM of its own. */
export const splitCertificates = (bundle: string): readonly string[] =>
  decodePem("CERTIFICATE", bundle).map((der) => encodePem("CERTIFICATE", der));
