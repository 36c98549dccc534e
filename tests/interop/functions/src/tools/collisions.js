// Names that are taken already, and names that become others.
export function echo(...args) {
  return ['the second', ...args];
}

export function getHTTPStatus2() {
  return 204;
}
