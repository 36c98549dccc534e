export class Calculator {
  constructor(start = 0) {
    this.start = start;
  }

  addTo(amount) {
    return this.start + amount;
  }

  async total(first, second) {
    return this.start + first + second;
  }
}

export class Idle {}

export const units = {
  toMiles(km) {
    return km / 2;
  },
  toKilometres(miles) {
    return miles * 2;
  },
  factor: 2,
};

export const settings = { depth: 3 };
