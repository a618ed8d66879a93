"""GraphQL: queries of what people and GitHub's own command line ask, by the part of GitHub's schema in `schema.graphql`.

graphql-core parses, validates and introspects, so that a query is refused here for what GitHub refuses it for. The values are in
`graphql_fields.py`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OverlappingFieldsCanBeMergedRule,
    Source,
    build_schema,
    execute_sync,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from bot.demo.hub.graphql_fields import FIELDS
from bot.demo.hub.graphql_nodes import Absent, Node, Wrong
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal
from bot.demo.hub.routing import Call, Route

# GitHub's own command line asks for `state` of an issue or a pull request at once, which are of two types, and GitHub answers.
RULES = [rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule]


@cache
def schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parent / "schema.graphql").read_text("utf-8"))


def query(call: Call) -> dict[str, Any]:
    if call.token is None:
        raise Refusal(401, "This endpoint requires you to be authenticated.")
    given = call.body.get("variables") or {}
    try:
        document = parse(Source(call.body["query"]))
        errors = validate(schema(), document, RULES)
        operation = get_operation_ast(document, call.body.get("operationName"))
        if not errors and operation is not None:
            declared = {variable.variable.name.value for variable in operation.variable_definitions or ()}
            if unknown := sorted(set(given) - declared):
                errors = [GraphQLError(f"Variables that the query doesn't declare: {', '.join(unknown)}")]
    except GraphQLError as error:
        errors = [error]
    if errors:
        return _refused(call, errors)
    done = execute_sync(
        schema(),
        document,
        context_value=call,
        variable_values=given,
        operation_name=call.body.get("operationName"),
        field_resolver=_value,
        type_resolver=lambda node, *_: node.kind,
    )
    if done.errors and not all(isinstance(error.original_error, Absent) for error in done.errors):
        return _refused(call, done.errors)
    return {"data": done.data} | ({"errors": [_shown(error) for error in done.errors]} if done.errors else {})


def _value(node: Node | None, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    field = FIELDS[info.parent_type.name][info.field_name]
    return field(info.context, node, **arguments)


def _refused(call: Call, errors: list[GraphQLError]) -> dict[str, Any]:
    for error in errors:
        if error.original_error and not isinstance(error.original_error, Wrong | Absent | GraphQLError):
            raise error.original_error  # a mistake of the stand-in
    call.hub.errors += [f"GraphQL: {error.message}" for error in errors]
    return {"errors": [_shown(error) for error in errors]}


def _shown(error: GraphQLError) -> dict[str, Any]:
    kind = error.original_error.kind if isinstance(error.original_error, Absent) else None
    return ({"type": kind} if kind else {}) | dict(error.formatted)


def routes(_: Hub) -> list[Route]:
    body = {"query!": str, "variables?": dict, "operationName?": str}
    return [Route("POST", "/graphql", query, door="open", base="/api", body=body)]
