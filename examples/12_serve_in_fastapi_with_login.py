"""A FastAPI application whose users log in, with a Navai backend that knows them.

Needs: pip install 'navai-client[server]' fastapi; no key, except to mint client secrets (OPENAI_API_KEY).
Run: python examples/12_serve_in_fastapi_with_login.py, then
    curl -c jar --json '{"name": "ann", "password": "correct horse"}' http://localhost:8000/login
    curl -b jar --json '{"function_name": "my_orders"}' http://localhost:8000/voice/navai/functions/execute
For a real voice: OPENAI_API_KEY here, and the agent in the page that the user has logged in to.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

import _explain
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from navai_client.server import FunctionContext, MintPolicy, NavaiBackend, from_host


class User(BaseModel):
    """A user of the shop."""

    id: int
    name: str
    scopes: list[str] = []


class Login(BaseModel):
    """What the login form sends."""

    name: str
    password: str


# In place of your own tables of users, passwords (hashed there) and sessions.
USERS = {
    "ann": User(id=1, name="Ann", scopes=["orders:refund"]),
    "bob": User(id=2, name="Bob"),
}
PASSWORDS = {"ann": "correct horse", "bob": "battery staple"}
SESSIONS: dict[str, User] = {}


backend = NavaiBackend(
    authenticate=from_host(state="user"),
    # Each user may open ten sessions a minute, with the shop's own instructions.
    mint_policy=MintPolicy(instructions=False, per_minute=10),
)
app = FastAPI(lifespan=backend.lifespan)
app.mount("/voice", backend)


@app.middleware("http")
async def identify(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Find the user of every request: FastAPI runs no dependency for a mounted application."""
    request.state.user = SESSIONS.get(request.cookies.get("session", ""))
    return await call_next(request)


def current_user(request: Request) -> User:
    """Return the user, for FastAPI's own routes."""
    if request.state.user is None:
        raise HTTPException(401)
    user: User = request.state.user
    return user


@app.post("/login")
def login(given: Login, response: Response) -> User:
    """Begin a session."""
    password = PASSWORDS.get(given.name)
    if password is None or not hmac.compare_digest(password.encode(), given.password.encode()):
        raise HTTPException(401)
    session = secrets.token_urlsafe(32)
    SESSIONS[session] = USERS[given.name]
    response.set_cookie("session", session, httponly=True, secure=True, samesite="lax")
    return USERS[given.name]


class Responds(Response):
    """A response of FastAPI that an ASGI application sends."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        super().__init__()
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self.application(scope, receive, send)


@app.post("/client-secret", dependencies=[Depends(current_user)])
def client_secret() -> Response:
    """Mint a client secret, in a route of FastAPI with its dependencies."""
    return Responds(backend.client_secret_handler)


@app.get("/me")
def me(user: Annotated[User, Depends(current_user)]) -> User:
    """Return the user."""
    return user


@backend.function
def my_orders(context: FunctionContext) -> str:
    """List the orders of the user who is speaking."""
    assert context.principal is not None
    return f"The orders of user {context.principal.id}."


@backend.function(scopes=["orders:refund"])
def refund_order(order: int) -> str:
    """Refund an order."""
    return f"Order {order} is refunded."


if __name__ == "__main__":
    uvicorn.run(app)
