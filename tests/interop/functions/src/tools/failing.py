"""As failing.js."""


def fails(message):
    raise ValueError(message)


async def failsLater(message):
    raise TypeError(message)
