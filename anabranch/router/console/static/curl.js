// A request of the playground as a command for a shell.

// `headers` are pairs; every part is quoted for POSIX shells.
export function curl(url, headers, body) {
  const parts = [`curl ${quoted(url)}`, ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`), `--data-raw ${quoted(body)}`];
  return parts.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// Pairs of name and value from lines "name: value"; an error names a line that is none.
export function headersOf(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([\t\x20-\x7e\x80-\xff]*)$/.exec(line) ?? [];
    if (!name) throw new SyntaxError(`${JSON.stringify(line.slice(0, 80))} is not a header such as "x-user: ada"`);
    return [name.toLowerCase(), value];
  });
}
