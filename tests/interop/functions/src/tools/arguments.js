// Functions that give back what they were given, so that each form of arguments shows.
export function echo(...args) {
  return args;
}

export function one(value) {
  return { value };
}

export function two(first, second) {
  return { first, second };
}

export function none() {
  return 'nothing was needed';
}

export async function later(value) {
  await null;
  return { later: value };
}

export function nothing() {}

export function kindOf(context) {
  return context && context.req ? 'context' : typeof context;
}
