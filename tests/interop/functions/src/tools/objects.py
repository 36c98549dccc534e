"""As objects.js."""

__all__ = ["Calculator", "Idle", "settings", "units"]


class Calculator:
    def __init__(self, start=0):
        self.start = start

    def addTo(self, amount):
        return self.start + amount

    async def total(self, first, second):
        return self.start + first + second


class Idle:
    pass


units = {
    "toMiles": lambda km: km / 2,
    "toKilometres": lambda miles: miles * 2,
    "factor": 2,
}

settings = {"depth": 3}
