"""Trust policies (C2SP tlog-policy): the published example, thresholds, and a line for each thing that is refused."""

import itertools

import pytest

from briefcase.core.receipts.quorums import MAX_POLICY_BYTES, all_of, parse_policy
from briefcase.model.errors import CallerError
from support.witnesses import CosignerKey, Log

KEYS = {name: CosignerKey(f"{name}.example", seed=number).public for number, name in enumerate("ABCDEF", start=20)}
LOG = Log().key
EXAMPLE = f"""
# two organisations
log {LOG.vkey}

witness X1 {KEYS["A"].vkey}
witness X2\t{KEYS["B"].vkey} https://x2.example/submit
  witness X3 {KEYS["C"].vkey}\x20
group X-witnesses 2 X1 X2 X3

witness Y1 {KEYS["D"].vkey}
witness Y2 {KEYS["E"].vkey}
witness Y3 {KEYS["F"].vkey}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


def met(policy, names):
    return policy.is_met({KEYS[name] for name in names})


def test_the_published_example_needs_two_of_one_and_one_of_the_other():
    policy = parse_policy(EXAMPLE)
    assert policy.logs == (LOG,)
    for size in range(7):
        for names in itertools.combinations("ABCDEF", size):
            of_x, of_y = len(set(names) & set("ABC")), len(set(names) & set("DEF"))
            assert met(policy, names) == (of_x >= 2 and of_y >= 1), names
    assert policy.takes_log(LOG)
    assert not policy.takes_log(Log(2).key)


def test_one_witness_or_nobody_may_be_the_quorum():
    one = parse_policy(f"witness w {KEYS['A'].vkey}\nquorum w\n".encode())
    assert met(one, "A")
    assert not met(one, "B")
    assert parse_policy(b"quorum none\n").is_met(())
    assert one.takes_log(LOG)


def test_names_are_bytes_of_any_kind():
    policy = parse_policy(b"witness \xe2\x84\xaa " + KEYS["A"].vkey.encode() + b"\nwitness K "
                          + KEYS["B"].vkey.encode() + b"\nquorum \xe2\x84\xaa\n")  # fmt: skip
    assert met(policy, "A")
    assert not met(policy, "B")


def test_without_a_file_every_witness_must_have_cosigned():
    policy = all_of([KEYS["A"], KEYS["B"]])
    assert met(policy, "AB")
    assert not met(policy, "A")
    assert all_of([]).is_met(())


def witness(name, letter):
    return f"witness {name} {KEYS[letter].vkey}\n"


TWO = witness("a", "A") + witness("b", "B")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a line `quorum NAME`"),
        (TWO, "expected a line `quorum NAME`"),
        ("quorum none", "line 1: expected a newline at its end"),
        ("quorum none\n# no end", "line 2: expected a newline at its end"),
        ("quorum none\r\n", "line 1: expected no control character but tab and newline, got 0x0d"),
        ("\nquorum none\x00\n", "line 2: expected no control character"),
        ("\x7fquorum none\n", "got 0x7f"),
        ("quorum none\nquorum none\n", "line 2: expected one line"),
        ("quorum\n", "line 1: expected `quorum NAME`"),
        ("quorum a b\n", "line 1: expected `quorum NAME`"),
        ("quorum later\n" + witness("later", "A"), "line 1: expected a witness or a group from the lines before it"),
        (TWO + "quorum c\n", "line 3: expected a witness or a group"),
        ("Quorum none\n", "line 1: expected log, witness, group, quorum or a comment, got `Quorum`"),
        ("timeout 5\nquorum none\n", "line 1: expected log, witness"),
        ("log\n", "line 1: expected `log VKEY [URL]`"),
        (f"log {LOG.vkey} https://a b\n", "line 1: expected `log VKEY [URL]`"),
        (f"log {LOG.vkey}\nlog {LOG.vkey}\n", "line 2: the key of"),
        (f"log {KEYS['A'].vkey}\n", "line 1: expected the key of a log"),
        ("log nonsense\n", "line 1: expected a verifier key"),
        ("witness a\n", "line 1: expected `witness NAME VKEY [URL]`"),
        (f"witness a {LOG.vkey}\n", "line 1: the key of"),
        (witness("none", "A"), "line 1: `none` is no name"),
        (witness("a", "A") + witness("a", "B"), "line 2: the name `a` is given already"),
        (witness("a", "A") + witness("b", "A"), "line 2: the key of `A.example` is listed already"),
        (TWO + "group a all b\n", "line 3: the name `a` is given already"),
        (TWO + "group g all\n", "line 3: expected `group NAME all|any|K NAME...`"),
        (TWO + "group g 0 a b\n", "line 3: expected `all`, `any` or a number from 1 to 2, got `0`"),
        (TWO + "group g 3 a b\n", "from 1 to 2, got `3`"),
        (TWO + "group g 01 a b\n", "got `01`"),
        (TWO + "group g +1 a b\n", "got `+1`"),
        (TWO + "group g ALL a b\n", "got `ALL`"),
        (TWO + "group g any a c\n", "line 3: expected members from the lines before it, got `c`"),
        (TWO + "group g any g\n", "line 3: expected members from the lines before it, got `g`"),
        (TWO + "group g any none\n", "got `none`"),
        (TWO + "group g any a a\n", "line 3: `a` is a member already"),
        (TWO + "group g any a\ngroup h any a\n", "line 4: `a` is a member already"),
    ],
)
def test_what_is_refused_names_its_line(text, said):
    with pytest.raises(CallerError) as refused:
        parse_policy(text.encode())
    assert said in refused.value.message, refused.value.message


def test_a_file_is_bounded():
    with pytest.raises(CallerError, match="at most"):
        parse_policy(b"#" * (MAX_POLICY_BYTES + 1))


def test_as_many_as_the_format_recommends_are_taken():
    keys = [CosignerKey(f"w{number}", seed=number).public for number in range(1, 33)]
    lines = [f"log {Log(number).key.vkey}" for number in range(100, 132)]
    lines += [f"witness w{number} {key.vkey}" for number, key in enumerate(keys)]
    lines += [f"group g{number} any w{number}" for number in range(32)]
    policy = parse_policy(("\n".join(lines) + "\nquorum g31\n").encode())
    assert policy.is_met({keys[31]})
