"""The functions that the servers offer, the same in Python and in JavaScript, one per module."""

from pathlib import Path

__all__ = ["FOLDER", "write"]

FOLDER = "src/functions"

PYTHON = '''
async def weather_{n}(location: str, unit: str = "celsius") -> dict[str, object]:
    """Get the current weather of a place.

    Args:
        location: City or region.
        unit: The unit of the temperature.
    """
    return {{"location": location, "temperature": 21, "unit": unit, "condition": "sunny"}}
'''
JAVASCRIPT = """
export async function weather_{n}({{ location, unit = 'celsius' }}) {{
  return {{ location, temperature: 21, unit, condition: 'sunny' }};
}}
"""
# Also a function that is not asynchronous, and one whose result has a requested size.
PYTHON_MORE = '''
from benchmarks.calls import result_of

def weather_sync(location: str, unit: str = "celsius") -> dict[str, object]:
    """Get the current weather of a place."""
    return {"location": location, "temperature": 21, "unit": unit, "condition": "sunny"}

async def sized(size: int) -> dict[str, object]:
    """Return a result of that many bytes."""
    return result_of(size)

__all__ = ["sized", "weather_sync"]
'''
JAVASCRIPT_MORE = """
export function weather_sync({ location, unit = 'celsius' }) {
  return { location, temperature: 21, unit, condition: 'sunny' };
}

const made = new Map();
export async function sized({ size }) {
  if (!made.has(size)) made.set(size, make(size));
  return made.get(size);
}
function make(size) {
  const items = [];
  let room = size - JSON.stringify({ items, note: '' }).length;
  for (;;) {
    const id = items.length;
    const item = { id, name: `Item ${id}`, price: 9.5, tags: ['new', 'sale'], left: true };
    room -= JSON.stringify(item).length + (id > 0 ? 1 : 0);
    if (room < 0) break;
    items.push(item);
  }
  const result = { items, note: '' };
  result.note = 'x'.repeat(size - JSON.stringify(result).length);
  return result;
}
"""


def write(base: Path, count: int) -> None:
    """Write *count* functions below *base*, in both languages."""
    folder = base / FOLDER
    folder.mkdir(parents=True)
    (base / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "more.py").write_text(PYTHON_MORE, encoding="utf-8")
    (folder / "more.js").write_text(JAVASCRIPT_MORE, encoding="utf-8")
    for n in range(count - 2):
        (folder / f"weather_{n}.py").write_text(PYTHON.format(n=n), encoding="utf-8")
        (folder / f"weather_{n}.js").write_text(JAVASCRIPT.format(n=n), encoding="utf-8")
