"""The evaluator that judges the requests keeps the rules of IAM's documentation on which the tables rest.

Sources: "Policy evaluation logic", "IAM JSON policy elements: Condition operators", "Multivalued context keys", and
"Permissions boundaries for IAM entities" in the IAM User Guide; "Default key policy" in the KMS Developer Guide.
"""

from __future__ import annotations

from typing import Any

import pytest
from evaluator import iam

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
DENY = ALLOW | {"Effect": "Deny"}
ROLE, ROOT = "arn:aws:iam::111122223333:role/r", "arn:aws:iam::111122223333:root"
RESOURCE = "arn:aws:s3:::b/k"


def context(**more: Any) -> Any:
    given = {
        "principal_arn": ROLE,
        "principal_account": "111122223333",
        "action": "s3:GetObject",
        "resource_arn": RESOURCE,
    }
    return iam.EvalContext(**{"principal_type": "AssumedRole", "region": "us-east-1", **given, **more})


def holds(operator: str, values: Any, given: Any) -> bool:
    """Return whether a condition on k holds for what a request says of k; None: nothing."""
    keys = {} if given is None else {"aws:k": given}
    statement = ALLOW | {"Condition": {operator: {"aws:k": values}}}
    decision = iam.evaluate(
        context(service_context=keys), [iam.parse_policy_document({"Statement": [statement]})]
    ).decision
    return bool(decision == "Allow")


@pytest.mark.parametrize(
    ("operator", "values", "true", "false"),
    [
        # Without the key, a condition does not hold, unless it negates or says IfExists. A negation is about all.
        ("StringEquals", ["a", "b"], ["a", "b"], ["A", "ab", "", None]),
        ("StringEquals", "*", ["*"], ["a", None]),
        ("StringNotEquals", ["a", "b"], ["c", "A", None], ["a", "b"]),
        ("StringEqualsIfExists", "a", ["a", None], ["b"]),
        ("StringNotEqualsIfExists", "a", ["b", None], ["a"]),
        ("StringLike", ["a*", "?"], ["a", "abc", "z"], ["xy", "Abc", None]),
        ("StringLike", "*", ["anything", "a:b/c"], [None]),
        ("StringNotLike", "a*", ["b", None], ["a", "abc"]),
        ("ArnEquals", "arn:aws:s3:::b", ["arn:aws:s3:::b"], ["arn:aws:s3:::bb", "arn:aws:s3:::B", None]),
        ("ArnLike", "arn:aws:s3:::b*", ["arn:aws:s3:::b", "arn:aws:s3:::bb"], ["arn:aws:s3:::a", None]),
        ("Bool", "false", ["false"], ["true", None]),
        ("BoolIfExists", "false", ["false", None], ["true"]),
        ("NumericLessThan", "1.2", ["1.1", "1.0", "1"], ["1.2", "1.3", None]),
        ("Null", "true", [None], ["a", ""]),
        ("Null", "false", ["a", ""], [None]),
        # Every value must be one of those named; a request that has none passes.
        ("ForAllValues:StringEquals", ["a", "b"], ["a", ["a", "b"], ["b", "b"], None], ["c", ["a", "c"]]),
        ("ForAnyValue:StringEquals", ["a", "b"], ["a", ["a", "c"]], ["c", ["c", "d"], None]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_condition_holds_as_documented(operator: str, values: Any, true: list[Any], false: list[Any]) -> None:
    assert [given for given in true if not holds(operator, values, given)] == []
    assert [given for given in false if holds(operator, values, given)] == []


def test_all_conditions_of_a_statement_have_to_hold() -> None:
    both = ALLOW | {"Condition": {"StringEquals": {"aws:a": "1", "aws:b": "1"}, "Null": {"aws:c": "true"}}}
    parsed = [iam.parse_policy_document({"Statement": [both]})]
    answers = [
        iam.evaluate(context(service_context=given), parsed).decision
        for given in ({"aws:a": "1", "aws:b": "1"}, {"aws:a": "1"}, {"aws:a": "1", "aws:b": "1", "aws:c": "1"})
    ]
    assert answers == ["Allow", "ImplicitDeny", "ImplicitDeny"]


def test_an_unknown_operator_never_allows() -> None:
    assert not holds("StringAlmostEquals", "a", "a")


@pytest.mark.parametrize(
    ("identity", "boundary", "resource", "named", "verdict"),
    [
        # What denies wins, wherever it stands. Else one that allows is enough in the same account, within the boundary.
        ([], None, None, ROLE, False),
        ([ALLOW], None, None, ROLE, True),
        ([ALLOW, DENY], None, None, ROLE, False),
        ([ALLOW], [ALLOW], None, ROLE, True),
        ([ALLOW], [], None, ROLE, False),
        ([ALLOW], [ALLOW, DENY], None, ROLE, False),
        ([], [ALLOW], None, ROLE, False),
        ([], None, [ALLOW], ROLE, True),
        ([], None, [ALLOW], "*", True),
        ([ALLOW], None, [], ROLE, True),
        ([ALLOW], None, [DENY], "*", False),
        ([DENY], None, [ALLOW], ROLE, False),
        # A resource that names the account leaves it to IAM.
        ([], None, [ALLOW], ROOT, False),
        ([ALLOW], None, [ALLOW], ROOT, True),
    ],
)
def test_policies_of_one_account_decide_together(
    identity: list[Any], boundary: list[Any] | None, resource: list[Any] | None, named: str, verdict: bool
) -> None:
    limits = [[iam.parse_policy_document({"Statement": boundary})]] if boundary is not None else []
    first = iam.evaluate(context(), [iam.parse_policy_document({"Statement": identity})], *limits)
    who = "*" if named == "*" else {"AWS": named}
    document = (
        {"Statement": [statement | {"Principal": who} for statement in resource]} if resource is not None else None
    )
    answer = iam.combine_resource_policy(first, context(), document, "111122223333", limits=tuple(limits))
    assert (answer.decision == "Allow") == verdict


@pytest.mark.parametrize(
    ("identity", "resource", "verdict"),
    [([ALLOW], [], False), ([], [ALLOW], False), ([ALLOW], [ALLOW], True), ([ALLOW], [ALLOW, DENY], False)],
)
def test_another_account_needs_both_and_so_does_a_key(identity: list[Any], resource: list[Any], verdict: bool) -> None:
    document = {"Statement": [statement | {"Principal": {"AWS": ROOT}} for statement in resource]}
    for owner, required in (("999999999999", False), ("111122223333", True)):
        first = iam.evaluate(context(), [iam.parse_policy_document({"Statement": identity})])
        answer = iam.combine_resource_policy(first, context(), document, owner, required=required)
        assert (answer.decision == "Allow") == verdict, owner


def test_a_service_gets_in_only_where_it_is_named_and_a_denial_for_all_is_for_services_too() -> None:
    asks = context(principal_arn="s3.amazonaws.com", principal_account=None)
    named, everybody = ALLOW | {"Principal": {"Service": "s3.amazonaws.com"}}, DENY | {"Principal": "*"}
    answers = [
        iam.evaluate_resource_policy({"Statement": statements}, asks, service).decision
        for statements, service in (
            ([named], "s3.amazonaws.com"),
            ([named], "sns.amazonaws.com"),
            ([named], None),
            ([named, everybody], "s3.amazonaws.com"),
        )
    ]
    assert answers == ["Allow", "ImplicitDeny", "ImplicitDeny", "Deny"]


@pytest.mark.parametrize(
    ("action", "resource", "verdict"),
    [
        ("s3:getobject", RESOURCE, True),  # actions have no case, resources do
        ("s3:GetObject", "arn:aws:s3:::B/k", False),
        ("s3:GetObjectVersion", RESOURCE, False),
        ("s3:GetObject", "arn:aws:s3:::b", False),
        ("s3:GetObject", "arn:aws:s3:::b/k/l", True),
    ],
)
def test_actions_and_resources_are_matched_whole(action: str, resource: str, verdict: bool) -> None:
    parsed = [iam.parse_policy_document({"Statement": [ALLOW]})]
    assert (iam.evaluate(context(action=action, resource_arn=resource), parsed).decision == "Allow") == verdict


def test_what_is_not_named_is_what_not_action_and_not_resource_are_about() -> None:
    statement = {"Effect": "Allow", "NotAction": "s3:Get*", "NotResource": "arn:aws:s3:::b/secret*"}
    parsed = [iam.parse_policy_document({"Statement": [statement]})]
    answers = [
        iam.evaluate(context(action=action, resource_arn=f"arn:aws:s3:::b/{key}"), parsed).decision
        for action, key in (("s3:PutObject", "k"), ("s3:GetObject", "k"), ("s3:PutObject", "secret/k"))
    ]
    assert answers == ["Allow", "ImplicitDeny", "ImplicitDeny"]
