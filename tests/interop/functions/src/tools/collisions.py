"""As collisions.js."""


def echo(*args):
    return ["the second", *args]


def getHTTPStatus2():
    return 204
