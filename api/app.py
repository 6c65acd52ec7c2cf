"""The API's table of contents: what it is made of, and what answers where."""

from http import HTTPStatus

from flask import Flask, Response, jsonify, redirect, request, url_for
from flask_openapi import Info, OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from api import commands
from api.admin.global_prompt import GlobalPrompt
from api.admin.members import Members
from api.agents.pool import Agents
from api.auth import authenticator
from api.auth.accounts import Accounts
from api.auth.api_tokens import ApiTokens
from api.auth.authenticator import Authenticator
from api.auth.sessions import Sessions
from api.auth.user_settings import UserSettings
from api.context import EXTENSION, Context
from api.conversations.conversations import Conversations
from api.dialects import chatgpt_api_nest, chatgpt_api_server, chatgpt_proxy, chatgpt_rest_api, openai
from api.http import bodies, cors, errors, limits, nul, tracing
from api.http.limits import Limits
from api.http.request_class import ApiRequest
from api.jobs.jobs import Jobs
from api.jobs.listing import JobLists
from api.jobs.submitter import Submitter
from api.model_list import ModelList
from api.readiness import Readiness
from api.routes import account, auth, events, health, jobs, tokens
from api.schemas.answers import ErrorAnswer
from api.server import response_headers
from api.server.request_bodies import BoundedBodies
from api.streaming.hub import Hub
from api.streaming.job_logs import JobLogs
from api.streaming.places import Places
from api.streaming.reader_presence import ReaderPresence
from api.webhooks.deliveries import WebhookDeliveries
from api.webhooks.endpoints import WebhookEndpoints
from shared.config import Settings, settings
from shared.database import Database
from shared.queue import Queue
from shared.redis import redis_clients
from shared.telemetry import log_setup
from shared.version import VERSION

OPENAPI_VERSION = "3.1.0"
"""What generators of clients read; the library would say 3.2.0, of which we use nothing."""
CLOCK_LEEWAY_SECONDS = 30
"""How far the clocks of hosts may be apart: a token of one is not yet, or no longer, valid for another one otherwise."""

BLUEPRINTS = (auth.blueprint, account.blueprint, tokens.blueprint, jobs.blueprint, events.blueprint, health.blueprint)
DIALECTS = (
    chatgpt_proxy.DIALECT,  # the first: at a path that two of them own it explains which words cannot be a chat's id
    chatgpt_api_nest.DIALECT,
    chatgpt_api_server.DIALECT,
    chatgpt_rest_api.DIALECT,
    openai.DIALECT,
)


def create_app(config: Settings | None = None) -> Flask:
    """Make the API, in the very process that will serve it: it starts threads."""
    config = config or settings()
    log_setup.configure(config.log_level, config.log_format)
    app = OpenAPI(
        __name__,
        info=Info(title="Chatrelay", version=VERSION),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
        },
        validation_error_status=HTTPStatus.BAD_REQUEST,
        validation_error_model=ErrorAnswer,
        validation_error_callback=bodies.refuse,
        doc_prefix="/docs",
    )
    app.openapi_version = OPENAPI_VERSION
    app.request_class = ApiRequest
    _configure(app, config)
    app.extensions[EXTENSION] = _context(config)
    errors.install(app, DIALECTS)
    for install in (response_headers.install, tracing.install, limits.install, commands.install, nul.install):
        install(app)
    cors.install(app, config.cors_origins, DIALECTS)
    for blueprint in BLUEPRINTS:
        app.register_api(blueprint)
    for dialect in DIALECTS:
        app.register_blueprint(dialect.blueprint)
    _document(app)
    return app


def _configure(app: Flask, config: Settings) -> None:
    app.config.update(
        SECRET_KEY=config.secret_key.get_secret_value(),
        JWT_SECRET_KEY=config.secret_key.get_secret_value(),
        JWT_DECODE_LEEWAY=CLOCK_LEEWAY_SECONDS,
        MAX_CONTENT_LENGTH=config.max_body_bytes,
        MAX_FORM_MEMORY_SIZE=config.max_body_bytes,  # a form says no more than its body, however it is written
        PROPAGATE_EXCEPTIONS=False,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.url_map.strict_slashes = False
    app.wsgi_app = BoundedBodies(app.wsgi_app)  # type: ignore[method-assign]  # flask documents that it may be replaced
    authenticator.jwt.init_app(app)
    if hops := config.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops)  # type: ignore[method-assign]


def _context(config: Settings) -> Context:
    """Compose the parts of this process, each given what it needs. Nothing connects, and no thread starts, before it is used."""
    database, queue, limits = Database(config.database), Queue(config), Limits(config)
    redis, hub = redis_clients.blocking(config.redis_url), Hub(redis_clients.subscriber(config.redis_url))
    accounts, api_tokens = Accounts(config, database, limits), ApiTokens(database)
    reader_presence = ReaderPresence(redis, hub, config.abandoned_seconds)
    places = Places(config.max_streams, config.web_connections)
    job_logs = JobLogs(database, redis, hub, reader_presence, places, config.heartbeat_seconds)
    jobs = Jobs(config, database, redis, queue, job_logs)
    return Context(
        config=config,
        database=database,
        redis=redis,
        queue=queue,
        hub=hub,
        reader_presence=reader_presence,
        sessions=Sessions(database, limits),
        readiness=Readiness(database, redis, config.renew_seconds),
        limits=limits,
        agents=Agents(config, database, redis, hub),
        accounts=accounts,
        api_tokens=api_tokens,
        authenticator=Authenticator(config, accounts, api_tokens),
        user_settings=UserSettings(config, database),
        job_logs=job_logs,
        jobs=jobs,
        conversations=Conversations(database, jobs.stop),
        job_lists=JobLists(database),
        model_list=ModelList(redis),
        submitter=Submitter(config, database, queue, limits),
        members=Members(database, accounts, api_tokens, jobs),
        global_prompt=GlobalPrompt(database),
        webhook_endpoints=WebhookEndpoints(config, database),
        webhook_deliveries=WebhookDeliveries(database, limits),
    )


def _document(app: OpenAPI) -> None:
    """Serve the description where it is looked for, also by clients of other projects; `/docs` shows it without the internet."""

    def description() -> Response:
        return jsonify({**app.api_doc, "servers": [{"url": request.script_root or "/"}]})

    for path in ("/openapi.json", "/swagger-json"):
        app.add_url_rule(path, "openapi_json", description)
    for path in ("/docs", "/swagger"):
        app.add_url_rule(path, "docs", _to_swagger)


def _to_swagger() -> Response:
    response: Response = redirect(url_for("swagger.swagger"))  # type: ignore[assignment]  # flask's redirect is typed as werkzeug's
    return response
