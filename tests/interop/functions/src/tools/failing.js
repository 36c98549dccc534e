export function fails(message) {
  throw new Error(message);
}

export async function failsLater(message) {
  await null;
  throw new TypeError(message);
}
