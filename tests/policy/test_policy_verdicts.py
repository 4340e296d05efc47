"""One call, one verdict: the default policy's table, the three questions, and every way in which deciding fails."""

import pytest
from policies import FILE_READ, NO_RISK, PAY, PERMIT_ALL, PERMIT_CALL, decide

from briefcase.core.policy.check import DEFAULT_POLICY_TEXT, check_policy
from briefcase.core.policy.engine import CompiledPolicy, compile_policy
from briefcase.core.policy.verdicts import DEFAULT_APPROVAL_REASON, NOT_PERMITTED
from briefcase.model.errors import CallerError
from briefcase.model.types import Allow, ApprovalKind, Deny, NeedsApproval, Principal, RiskSignals, Role
from support.clock import START_US
from support.principals import AGENT
from support.tools import spec

LOCAL, SIGNER = ApprovalKind.LOCAL, ApprovalKind.MOBILE_SIGNER

DEFAULT_TABLE = [
    # category, cost in micro-USD, network, file system, what becomes of the call
    ("read", 0, False, False, "allow"),
    ("read", 10_000, False, False, "allow"),
    ("read", 10_001, False, False, LOCAL),
    ("read", 0, True, False, "allow"),
    ("read", 0, False, True, "allow"),
    ("read", 10_001, True, True, LOCAL),
    ("write", 0, False, False, LOCAL),
    ("write", 0, True, False, SIGNER),
    ("write", 0, False, True, SIGNER),
    ("write", 50_000, True, True, SIGNER),
    ("deploy", 0, False, False, LOCAL),
    ("deploy", 0, True, False, SIGNER),
    ("Read", 0, False, False, LOCAL),
    ("", 0, False, False, LOCAL),
    ("admin", 0, False, False, "deny"),
    ("admin", 0, True, True, "deny"),
]


@pytest.mark.parametrize(("category", "cost", "net", "fs", "expected"), DEFAULT_TABLE)
def test_the_default_policy_decides_by_what_a_tool_does_and_costs(category, cost, net, fs, expected):
    tool = spec(category=category, cost_microusd=cost, net_access=net, fs_access=fs)
    verdict = decide(DEFAULT_POLICY_TEXT, tool)
    match expected:
        case "allow":
            assert verdict == Allow(("permit-calls", "reads-without-approval", "calls-without-signer"))
        case "deny":
            assert isinstance(verdict, Deny)
            assert (verdict.reason, verdict.policy_ids) == ("policy_denied", ("forbid-admin-tools",))
        case kind:
            assert isinstance(verdict, NeedsApproval)
            assert verdict.kind is kind


def test_the_default_policy_passes_its_own_check_and_names_every_policy():
    parsed = check_policy(DEFAULT_POLICY_TEXT)
    assert all("id" in policy["annotations"] for policy in parsed.policies.values())
    assert set(parsed.reasons) == set(parsed.names)


THREE_QUESTIONS = [
    # what is permitted, what becomes of the call
    ((), "deny"),
    (("CallWithoutApproval", "CallWithoutSigner"), "deny"),
    (("Call",), SIGNER),
    (("Call", "CallWithoutApproval"), SIGNER),
    (("Call", "CallWithoutSigner"), LOCAL),
    (("Call", "CallWithoutApproval", "CallWithoutSigner"), "allow"),
]


@pytest.mark.parametrize(("permitted", "expected"), THREE_QUESTIONS)
def test_a_call_runs_by_itself_only_where_all_three_questions_are_permitted(permitted, expected):
    verdict = decide("".join(f'permit(principal, action == Action::"{action}", resource);' for action in permitted))
    if expected == "allow":
        assert isinstance(verdict, Allow)
    elif expected == "deny":
        assert verdict == Deny("policy_denied", (), NOT_PERMITTED)
    else:
        assert isinstance(verdict, NeedsApproval)
        assert (verdict.kind, verdict.reason) == (expected, DEFAULT_APPROVAL_REASON)


def test_the_approver_reads_the_reason_of_the_forbid_and_the_agent_never_that_of_a_denial():
    ask = '@id("why") @reason("money leaves") forbid(principal, action == Action::"CallWithoutApproval", resource);'
    asked = decide(PERMIT_ALL + ask)
    assert asked == NeedsApproval(LOCAL, "money leaves", ("all", "why"), "`why`: money leaves")
    no = '@id("no") @reason("the secret rule") forbid(principal, action == Action::"Call", resource);'
    denied = decide(PERMIT_ALL + no)
    assert denied == Deny("policy_denied", ("no",), "`no`: the secret rule")
    told = decide(PERMIT_ALL + '@advice("call `echo` instead")' + no)
    assert told == Deny("policy_denied", ("no",), "`no`: the secret rule", "call `echo` instead")


def test_the_largest_number_of_approvers_of_the_permits_that_applied_counts():
    two = '@id("two") @approvers("2") permit(principal, action == Action::"Call", resource);'
    three = '@id("three") @approvers("3") permit(principal, action == Action::"Call", resource) when { CASE };'
    ask = '@id("why") @reason("money") forbid(principal, action == Action::"CallWithoutApproval", resource);'
    assert decide(PERMIT_ALL + ask).approvers == 1
    assert decide(PERMIT_ALL + two + ask).approvers == 2
    assert decide(PERMIT_ALL + two + three.replace("CASE", "true") + ask).approvers == 3
    assert decide(PERMIT_ALL + two + three.replace("CASE", "false") + ask).approvers == 2
    assert decide(PERMIT_ALL + two).approvers == 2  # allowed by itself; where risk asks for a person, it takes two


@pytest.mark.parametrize("amount", [2**63 - 1, 10**25, 1.5])
def test_a_permit_that_errs_asks_for_as_many_people_as_if_it_had_applied(amount):
    """An agent that chooses the argument must not choose the number of people by it."""
    two = '@id("two") @approvers("2") permit(principal, action == Action::"Call", resource) when { CASE };'
    case = "context.args has amount && context.args.amount * 100 > 1000000"
    tool = spec(input_schema={"type": "object", "properties": {"amount": {"type": "integer"}}})
    policy = compile_policy(PERMIT_ALL + two.replace("CASE", case))
    asked = [policy.decide(AGENT, tool, {"amount": one}, RiskSignals(), 0).approvers for one in (1, amount, 1)]
    assert asked == [1, 2, 1]


@pytest.mark.parametrize(
    "said",
    [
        '@approvers("1") permit(principal, action == Action::"Call", resource);',
        '@approvers("0") permit(principal, action, resource);',
        '@approvers("11") permit(principal, action, resource);',
        '@approvers("02") permit(principal, action, resource);',
        '@approvers("two") permit(principal, action, resource);',
        '@approvers("") permit(principal, action, resource);',
        "@approvers permit(principal, action, resource);",
        '@approvers("2") permit(principal, action == Action::"CallWithoutApproval", resource);',
        '@approvers("2") forbid(principal, action == Action::"Call", resource);',
        '@approver("2") permit(principal, action == Action::"Call", resource);',
        '@Approvers("2") permit(principal, action == Action::"Call", resource);',
        '@aprovers("2") permit(principal, action == Action::"Call", resource);',
    ],
)
def test_a_number_of_approvers_that_would_not_count_is_refused_where_the_policy_is_set(said):
    with pytest.raises(CallerError, match="approvers") as refused:
        check_policy(said)
    assert refused.value.code == "invalid_policy"


def test_an_annotation_of_somebodys_own_is_nobodys_business():
    check_policy('@approved("by ann, in March") @owner("payments") permit(principal, action, resource);')


def test_a_policy_without_an_id_is_reported_by_its_place():
    assert decide("permit(principal, action, resource);").policy_ids == ("policy0",)


WHAT_POLICIES_SEE = [
    ('principal == Agent::"scout"', True),
    ('principal == Agent::"ranger"', False),
    ('principal in Group::"ops"', True),
    ('principal in Group::"dev"', False),
    ('resource == Tool::"pay"', True),
    ('resource in Provider::"bank"', True),
    ('resource in Server::"bank"', False),
    ('resource.category == "write" && resource.is_write', True),
    ("resource.cost_microusd == 2000 && resource.net_access && !resource.fs_access", True),
    ('resource.source == "provider:bank"', True),
    ('context.args.to.iban like "DE*"', True),
    ('context.args.amount.lessThan(decimal("20.0"))', True),
    ('context.args.tags.contains("rent")', True),
    ('context.risk.contains("secret_like")', True),
    ("context.risk.isEmpty()", False),
    ('context.time == datetime("2026-01-01T00:00:00Z")', True),
    ('context["time"] < datetime("2026-01-01T00:00:00.001Z")', True),
]


@pytest.mark.parametrize(("condition", "holds"), WHAT_POLICIES_SEE)
def test_a_policy_sees_agent_groups_tool_arguments_risk_and_time(condition, holds):
    args = {"amount": 19.99, "to": {"iban": "DE02"}, "tags": ["rent", "may"]}
    ops = Principal("scout", Role.AGENT, ("ops", "night"))
    text = f"permit(principal, action, resource) when {{ {condition} }};"
    verdict = decide(text, PAY, args, principal=ops, risk=RiskSignals(("secret_like",)), now_us=START_US + 999)
    assert isinstance(verdict, Allow if holds else Deny)


def test_a_remote_server_is_a_parent_of_its_tools():
    text = 'permit(principal, action, resource in Server::"files");'
    assert isinstance(decide(text, spec(source="mcp:files")), Allow)
    assert isinstance(decide(text, spec(source="mcp:other")), Deny)


# --- stricter than Cedar ----------------------------------------------------------------------------------------

FORBIDS_THAT_ERR = [
    ("a missing argument", 'context.args.path like "/etc/*"'),
    ("an argument of another type", 'context.args.n like "x"'),
    ("an integer overflow", "context.args.n + 9223372036854775807 > 0"),
    ("a fraction no decimal can hold", 'context.args.tiny.lessThan(decimal("1.0"))'),
    ("an unknown entity", 'Agent::"nobody".name == "x"'),
    ("a null in an array", "context.args.holes.isEmpty()"),
    ("a wrong extension value", "ip(context.args.word).isLoopback()"),
]


@pytest.mark.parametrize("action", ["Call", "CallWithoutApproval", "CallWithoutSigner"])
@pytest.mark.parametrize(("what", "condition"), FORBIDS_THAT_ERR, ids=[what for what, _ in FORBIDS_THAT_ERR])
def test_a_forbid_that_errs_denies_whichever_question_it_is_about(what, condition, action):
    args = {"n": 1, "tiny": 0.00001, "holes": [1, None], "word": "not an address"}
    forbid = f'@id("broken") forbid(principal, action == Action::"{action}", resource) when {{ {condition} }};'
    verdict = decide(PERMIT_ALL + forbid, args=args)
    assert isinstance(verdict, Deny), what
    assert (verdict.reason, verdict.policy_ids) == ("policy_error", ("broken",))
    assert verdict.detail.startswith("`broken`: ")


def test_a_permit_that_errs_permits_nothing():
    verdict = decide('permit(principal, action, resource) when { context.args.path like "*" };')
    assert verdict.reason == "policy_denied"


def test_an_erring_forbid_denies_even_where_another_policy_decides():
    text = f'{PERMIT_ALL} @id("broken") forbid(principal, action, resource) when {{ context.args.x > 1 }};'
    assert decide(text + "forbid(principal, action, resource);").reason == "policy_error"


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("a tool that is none", {"tool": None}),
        ("arguments that are none", {"args": None}),
        ("a time beyond the calendar", {"now_us": 10**30}),
        ("a name with a lone surrogate", {"principal": Principal("\ud800", Role.AGENT)}),
        ("risk that is none", {"risk": None}),
    ],
)
def test_whatever_breaks_inside_is_a_denial_and_never_an_exception(what, changes):
    asked = {"principal": AGENT, "tool": spec(), "args": {}, "risk": NO_RISK, "now_us": START_US, **changes}
    text = f'{PERMIT_CALL} permit(principal, action, resource) when {{ context.time > datetime("2020-01-01") }};'
    verdict = compile_policy(text).decide(**asked)
    if what != "a name with a lone surrogate":
        assert isinstance(verdict, Deny)
        assert verdict.reason == "policy_error"
    else:
        assert isinstance(verdict, Allow)


def test_an_engine_that_panics_denies(monkeypatch):
    policy = compile_policy(PERMIT_ALL)

    class Panics:
        def decide(self, *_):
            raise MemoryError

    policy.decide(AGENT, FILE_READ, {}, NO_RISK, START_US)
    policy._tools[FILE_READ.id].without_signer = Panics()
    assert policy.decide(AGENT, FILE_READ, {}, NO_RISK, START_US).reason == "policy_error"


# --- the caches -------------------------------------------------------------------------------------------------


def test_a_tool_that_changes_under_the_same_id_is_decided_anew():
    policy = compile_policy(DEFAULT_POLICY_TEXT)
    for category, expected in (("read", Allow), ("admin", Deny), ("read", Allow), ("write", NeedsApproval)):
        assert isinstance(policy.decide(AGENT, spec(category=category), {}, NO_RISK, START_US), expected)


def test_an_agent_whose_groups_change_is_decided_anew():
    policy = compile_policy('permit(principal in Group::"ops", action, resource);')
    for groups, expected in ((("ops",), Allow), ((), Deny), (("dev", "ops"), Allow), (("dev",), Deny)):
        agent = Principal("scout", Role.AGENT, groups)
        assert isinstance(policy.decide(agent, spec(), {}, NO_RISK, START_US), expected)


def test_the_caches_are_bounded(monkeypatch):
    monkeypatch.setattr("briefcase.core.policy.engine.MAX_TOOLS", 8)
    monkeypatch.setattr("briefcase.core.policy.engine.MAX_PRINCIPALS", 8)
    policy = compile_policy(DEFAULT_POLICY_TEXT)
    for number in range(100):
        agent = Principal(f"agent-{number}", Role.AGENT)
        assert isinstance(policy.decide(agent, spec(f"tool-{number}"), {}, NO_RISK, START_US), Allow)
    assert len(policy._tools) <= 8
    assert len(policy._principals) <= 8


def test_a_decision_depends_on_arguments_every_time():
    policy: CompiledPolicy = compile_policy("permit(principal, action, resource) when { context.args.n > 3 };")
    tool = spec(input_schema={"properties": {"n": {"type": "integer"}}})
    for n in (1, 4, 3, 5, 0):
        assert isinstance(policy.decide(AGENT, tool, {"n": n}, NO_RISK, START_US), Allow) == (n > 3)


@pytest.mark.parametrize("varies", ["Call", "CallWithoutApproval", "CallWithoutSigner"])
def test_an_answer_to_one_question_is_never_taken_from_the_call_before(varies):
    """Where the other two answers are the same objects each time."""
    policy = compile_policy(
        f'{PERMIT_ALL} forbid(principal, action == Action::"{varies}", resource) when {{ context.args.n > 3 }};'
    )
    tool = spec(input_schema={"properties": {"n": {"type": "integer"}}})
    for n in (1, 4, 3, 5, 0):
        assert isinstance(policy.decide(AGENT, tool, {"n": n}, NO_RISK, START_US), Allow) == (n <= 3)
