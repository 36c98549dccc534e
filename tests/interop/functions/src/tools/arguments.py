"""As arguments.js."""

from navai_client.server import function


def echo(*args):
    return args


def one(value):
    return {"value": value}


def two(first, second):
    return {"first": first, "second": second}


def none():
    return "nothing was needed"


async def later(value):
    return {"later": value}


@function(effect="read", typical_seconds=0.1, say_while_waiting="One moment.")
def nothing():
    pass


def kindOf(context):
    return "context" if hasattr(context, "request") else type(context).__name__
