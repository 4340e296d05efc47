"""C2SP tlog-proofs: each leaf of each tree is proven, and nothing else is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.receipts.tlog_proofs import (
    FORMAT,
    TlogProof,
    checkpoint_in,
    encode_tlog_proof,
    is_proven,
    parse_tlog_proof,
)
from briefcase.core.receipts.tree import prove_inclusion
from briefcase.model.errors import CallerError
from support.witnesses import CosignerKey, Log, leaf

LOG = Log()


def made(index, size, extra=b""):
    note = LOG.note(size) + CosignerKey().cosign(LOG.checkpoint(size)).text
    return TlogProof(index, tuple(prove_inclusion(LOG.leaves(size), index)), note, extra)


@given(st.integers(1, 40), st.data(), st.binary(max_size=20))
def test_a_proof_reads_back_and_proves_its_leaf_alone(size, data, extra):
    index = data.draw(st.integers(0, size - 1))
    proof = parse_tlog_proof(encode_tlog_proof(made(index, size, extra)))
    assert proof == made(index, size, extra)
    checkpoint = checkpoint_in(proof)
    assert checkpoint == LOG.checkpoint(size)
    assert is_proven(proof, checkpoint, leaf(index))
    assert not is_proven(proof, checkpoint, leaf(index + 1))
    assert not is_proven(msgspec.structs.replace(proof, index=index + 1), checkpoint, leaf(index))


def test_the_form_is_the_published_one():
    text = encode_tlog_proof(made(1, 3, b"receipt"))
    lines = text.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra cmVjZWlwdA==", "index 1"]
    assert lines[5:8] == ["", LOG.origin, "3"]
    assert lines[-1] == ""


GOOD = encode_tlog_proof(made(1, 3, b"receipt"))


@pytest.mark.parametrize(
    "text",
    [
        "", FORMAT, GOOD.replace("@v1", "@v2"), GOOD.replace("extra c", "extra !"), GOOD.replace("index 1", "index 01"),
        GOOD.replace("index 1", "index -1"), GOOD.replace("index 1", "1"), GOOD.replace("index 1", "index"),
        GOOD.replace("index 1\n", "index 1\nAAAA\n"), GOOD.replace("index 1\n", "index 1\n" + ("A" * 43 + "=\n") * 64),
        GOOD.partition("\n\n")[0], GOOD.replace("\n\n", "\n"), GOOD.replace("extra", "index 1\nextra"), "x" * (5 << 20),
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(text):
    with pytest.raises(CallerError):
        parse_tlog_proof(text)
