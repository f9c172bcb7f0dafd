/** What the page is about. */
export interface PageOptions {
  readonly namespace: string;
  readonly machine: string;
  /** Keys and mouse stay here. */
  readonly viewOnly: boolean;
}

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"]/gu, (letter) => escapes[letter] ?? letter);

/** The page around noVNC; its program is browser/page.js. */
export const pageHtml = ({ namespace, machine, viewOnly }: PageOptions): string => {
  const name = escapeHtml(`${namespace}/${machine}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${name}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<script type="module" src="page.js"></script>
</head>
<body data-view-only="${viewOnly}">
<header>
<strong>${name}</strong>
<span id="state" role="status">connecting</span>
<button id="ctrl-alt-del" type="button"${viewOnly ? " hidden" : ""}>Ctrl+Alt+Del</button>
<button id="full-screen" type="button">Full screen</button>
</header>
<main id="screen"></main>
</body>
</html>
`;
};

export const PAGE_CSS = `html, body { height: 100%; margin: 0; background: #222; color: #eee; font: 14px sans-serif; }
body { display: flex; flex-direction: column; }
header { display: flex; gap: 1em; align-items: center; padding: 0.4em 1em; }
#state { flex: 1; color: #aaa; }
#screen { flex: 1; min-height: 0; }
`;

/**
 * Nothing from elsewhere, nothing inline, in nobody's frame. noVNC draws some
 * encodings through data: images; "self" does not mean websockets in all browsers.
 */
export const contentSecurityPolicy = (authority: string): string =>
  [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' ws://${authority}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
