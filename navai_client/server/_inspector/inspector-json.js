// JSON as text: indented and split without parsing its numbers, so that long ones keep their digits.

const SPACE = /[\s,:]/;

// Where the value that begins at `start` ends.
const endOf = (text, start) => {
  let depth = 0;
  for (let i = start; i < text.length; i += 1) {
    const mark = text[i];
    if (mark === '"') {
      for (i += 1; text[i] !== '"'; i += 1) if (text[i] === '\\') i += 1;
      if (depth === 0) return i + 1;
    } else if (mark === '{' || mark === '[') depth += 1;
    else if (mark === '}' || mark === ']') {
      depth -= 1;
      if (depth <= 0) return depth < 0 ? i : i + 1;
    } else if (depth === 0 && SPACE.test(mark)) return i;
  }
  return text.length;
};

const skipSpace = (text, start) => {
  let i = start;
  while (i < text.length && SPACE.test(text[i])) i += 1;
  return i;
};

// The members of an object's valid JSON text: a map of names to texts.
export const membersOf = (text) => {
  const members = new Map();
  let i = skipSpace(text, text.indexOf('{') + 1);
  while (i < text.length && text[i] !== '}') {
    const nameEnd = endOf(text, i);
    const valueStart = skipSpace(text, nameEnd);
    const valueEnd = endOf(text, valueStart);
    members.set(JSON.parse(text.slice(i, nameEnd)), text.slice(valueStart, valueEnd));
    i = skipSpace(text, valueEnd);
  }
  return members;
};

// The elements of an array's valid JSON text, as texts.
export const elementsOf = (text) => {
  const elements = [];
  let i = skipSpace(text, text.indexOf('[') + 1);
  while (i < text.length && text[i] !== ']') {
    const end = endOf(text, i);
    elements.push(text.slice(i, end));
    i = skipSpace(text, end);
  }
  return elements;
};

// Valid JSON text with a member or an element on each line; other text unchanged.
export const indented = (text) => {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let out = '';
  let indent = '';
  for (let i = skipSpace(text, 0); i < text.length; i = skipSpace(text, i)) {
    const mark = text[i];
    if (mark === '{' || mark === '[') {
      const next = skipSpace(text, i + 1);
      if (text[next] === '}' || text[next] === ']') {
        out += mark + text[next];
        i = next + 1;
      } else {
        indent += '  ';
        out += `${mark}\n${indent}`;
        i += 1;
        continue;
      }
    } else if (mark === '}' || mark === ']') {
      indent = indent.slice(2);
      out += `\n${indent}${mark}`;
      i += 1;
    } else {
      const end = endOf(text, i);
      out += text.slice(i, end);
      i = end;
    }
    // After a value: the rest of its line.
    let rest = i;
    while (/\s/.test(text[rest] ?? '')) rest += 1;
    if (text[rest] === ',') out += `,\n${indent}`;
    else if (text[rest] === ':') out += ': ';
  }
  return out;
};
